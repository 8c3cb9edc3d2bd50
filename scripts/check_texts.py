#!/usr/bin/env python3
"""Compares what the program prints with what the repository says it prints.

    scripts/check_texts.py [--only texts|schema|docs|configs] [--update] PROGRAM

texts    tests/golden/text/*.txt: the first line is `$ ssmax ARGUMENTS`, the rest is the output
schema   configs/schema.json is the output of `ssmax config --schema`
docs     docs/config.md is made of the output of `ssmax config --explain`, and README.md has the line of
         exit codes of `ssmax --help`
configs  every config in configs/ loads: `ssmax train CONFIG --print-config`

--update writes the present output into texts, schema and docs, to be read and committed. A new golden
text is a file with its first line only, then --update. Needs the Python standard library only.
"""

import argparse
import difflib
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ROOT / "tests" / "golden" / "text"
CONFIGS = ROOT / "configs"
SCHEMA = CONFIGS / "schema.json"
CONFIG_PAGE = ROOT / "docs" / "config.md"
README = ROOT / "README.md"
SECONDS = 30


def run(program, arguments):
    """(exit code, output, errors) of the program, run in the repository's root."""
    result = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=ROOT,
                            timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
    return result.returncode, result.stdout, result.stderr


def difference(name, expected, found):
    lines = difflib.unified_diff(expected.splitlines(True), found.splitlines(True),
                                 f"{name} (expected)", f"{name} (found)")
    return "".join(lines)


def exact(text):
    return text


def words_only(text):
    """A help page without its layout, which changes with CLI11: `INT=3`, from 2.4 on `INT [3]`."""
    return "".join(character for character in text if not character.isspace()
                   and character not in "=[]").lower()


def compare(path, expected, found, head, update, form=exact):
    """The failures of one file: none when equal in this form or when just updated."""
    if expected == found or (form(expected) == form(found) and not update):
        return []
    name = path.relative_to(ROOT)
    if update:
        path.write_text(head + found, encoding="utf-8")
        print(f"{name}: updated")
        return []
    return [f"{name} differs; if it should, run scripts/check_texts.py --update\n"
            + difference(name, expected, found)]


def check_texts(program, update):
    failures = []
    paths = sorted(TEXTS.glob("*.txt"))
    if not paths:
        failures.append(f"{TEXTS.relative_to(ROOT)}: there is no golden text")
    for path in paths:
        head, _, expected = path.read_text(encoding="utf-8").partition("\n")
        words = shlex.split(head)
        if words[:2] != ["$", "ssmax"]:
            failures.append(f"{path.relative_to(ROOT)}:1: expected `$ ssmax ARGUMENTS`, "
                            f"found `{head}`")
            continue
        code, output, errors = run(program, words[2:])
        # A failing command shows its message and its exit code, so that both are kept.
        found = output if code == 0 else f"{output}{errors}exit code {code}\n"
        form = words_only if "--help" in words else exact
        failures += compare(path, expected, found, head + "\n", update, form)
    return failures


def check_schema(program, update):
    code, output, errors = run(program, ["config", "--schema"])
    if code != 0:
        return [f"ssmax config --schema: exit code {code}\n{errors}"]
    expected = SCHEMA.read_text(encoding="utf-8") if SCHEMA.exists() else ""
    return compare(SCHEMA, expected, output, "", update)


CONFIG_HEAD = """# Keys of a config

Made of the output of `ssmax config --explain` by `scripts/check_texts.py --update`; do not edit.

A config is one JSON file; a key of the tables is a path into it, `model.position.kind` is
`{"model": {"position": {"kind": ...}}}`. On the command line it is `--model.position.kind=alibi`; a list of strings is
`'--data.train=a_*.bin'` or `'--data.train=["a.bin", "b.bin"]'`.

`extends` names a file whose values this one changes, `$schema` the schema for editors (`configs/schema.json`). Defaults
give way to the file, the file to the command line. An option of a kind, such as `model.normalizer.alpha`, counts where
that kind is chosen; its kind stands in front of what it does.
"""


def config_page(explained):
    """Markdown: one table for each section."""
    sections = {}
    for line in explained.splitlines():
        key, kind, default, what = re.split(r" {2,}", line, maxsplit=3)
        section = key.split(".")[0] if "." in key else ""
        cells = (f"`{key}`", kind.replace("|", "\\|"), f"`{default}`", what.replace("|", "\\|"))
        sections.setdefault(section, []).append("| " + " | ".join(cells) + " |\n")
    page = CONFIG_HEAD
    for section, rows in sections.items():
        title = f"`{section}`" if section else "The run"
        page += f"\n## {title}\n\n| key | value | default | what it does |\n|---|---|---|---|\n"
        page += "".join(rows)
    return page


def check_docs(program, update):
    code, output, errors = run(program, ["config", "--explain"])
    if code != 0:
        return [f"ssmax config --explain: exit code {code}\n{errors}"]
    expected = CONFIG_PAGE.read_text(encoding="utf-8") if CONFIG_PAGE.exists() else ""
    return (compare(CONFIG_PAGE, expected, config_page(output), "", update)
            + check_exit_codes(program))


def check_exit_codes(program):
    _, output, _ = run(program, ["--help"])
    line = re.search(r"Exit codes: [^.]*\.", " ".join(output.split()))
    if line is None:
        return ["ssmax --help: has no line of exit codes"]
    if line.group() in " ".join(README.read_text(encoding="utf-8").split()):
        return []
    return [f"README.md: expected the line of exit codes of ssmax --help: {line.group()}"]


def check_configs(program, _update):
    failures = []
    paths = [path for path in sorted(CONFIGS.rglob("*.json")) if path != SCHEMA]
    for path in paths:
        name = str(path.relative_to(ROOT))
        code, output, errors = run(program, ["train", name, "--print-config"])
        if code != 0 or not output.strip():
            failures.append(f"{name}: exit code {code}\n{errors}")
    if not paths:
        failures.append("configs: there is no config")
    return failures


CHECKS = {"texts": check_texts, "schema": check_schema, "docs": check_docs,
          "configs": check_configs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="the ssmax to ask, such as build/cpu/ssmax")
    parser.add_argument("--only", choices=sorted(CHECKS))
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.program).resolve())
    failures = []
    for name, function in CHECKS.items():
        if arguments.only in (None, name):
            failures += function(program, arguments.update)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
