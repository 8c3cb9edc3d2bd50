#!/usr/bin/env python3
"""What bash completes for lines of ssmax, and that zsh and man can read what is made for them.

    tests/scripts/completion_test.py PROGRAM

zsh and man are asked where they are installed, else that part is skipped by name.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

# Typed so far (the last word is being completed): some of the words, and some that must not be.
CASES = [
    (["ssmax", ""], ["train", "evaluate", "export"], ["--out", "encode"]),
    (["ssmax", "ex"], ["export"], ["train"]),
    (["ssmax", "tokenizer", ""], ["train", "encode", "decode"], ["swap"]),
    (["ssmax", "tokenizer", "encode", "--"], ["--tokenizer", "--special"], ["--vocab-size"]),
    (["ssmax", "export", "run", "--d"], ["--dtype"], ["--out"]),
    (["ssmax", "export", "run", "--dtype", ""], ["fp32", "bf16"], ["--dtype"]),
    (["ssmax", "train", "a.json", "--model.norm"],
     ["--model.norm=", "--model.norm_eps=", "--model.normalizer.kind="], ["--out"]),
    (["ssmax", "evaluate", "runs/a", "lo"], ["loss", "logits"], ["positions"]),
    (["ssmax", "evaluate", "runs/a", "positions", "--s"], ["--sequences"], ["--out"]),
]


def bash_words(script, line):
    words = " ".join(f"'{word}'" for word in line)
    command = (f"compopt() {{ :; }}; source {script}; COMP_WORDS=({words}); "
               f"COMP_CWORD={len(line) - 1}; _ssmax; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    result = subprocess.run(["bash", "--norc", "-c", command], capture_output=True, text=True,
                            check=True)
    return result.stdout.split()


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    failures = []

    def output(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True,
                              check=True).stdout

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        script = folder / "ssmax.bash"
        script.write_text(output("completion", "bash"))
        for line, expected, unexpected in CASES:
            found = bash_words(script, line)
            for word in expected:
                if word not in found:
                    failures.append(f"{' '.join(line)}: {word} is not among {found}")
            for word in unexpected:
                if word in found:
                    failures.append(f"{' '.join(line)}: {word} is offered")
        zsh = folder / "_ssmax"
        zsh.write_text(output("completion", "zsh"))
        if shutil.which("zsh"):
            result = subprocess.run(["zsh", "-n", str(zsh)], capture_output=True, text=True,
                                    check=False)
            if result.returncode != 0:
                failures.append(f"zsh: {result.stderr}")
        else:
            print("zsh: skipped, not installed")
        page = folder / "ssmax.1"
        page.write_text(output("man"))
        if shutil.which("man") and shutil.which("groff"):
            result = subprocess.run(["groff", "-man", "-ww", "-Tutf8", str(page)],
                                    capture_output=True, text=True, check=False)
            if result.stderr or "ssmax tokenizer encode" not in result.stdout:
                failures.append(f"man: {result.stderr or result.stdout[:500]}")
        else:
            print("man: skipped, man or groff is not installed")
    for failure in failures:
        print(failure)
    print(f"completion_test: {len(CASES)} lines, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
