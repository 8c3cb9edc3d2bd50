#!/usr/bin/env python3
"""`ssmax generate` says how far it is, and writes text with whatever the model came with.

    tests/app/generate_test.py PROGRAM

A long prompt, and text that goes to a file, take minutes here; the call is ended when its first line
of progress has come. Needs the Python standard library only.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

CONFIG = {
    "name": "small",
    "model": {"vocab_size": 384, "num_hidden_layers": 2, "num_attention_heads": 2,
              "hidden_size": 64, "intermediate_size": 64},
    "data": {"train": ["data/train_*.bin"], "validation": [], "sequence_length": 16},
    "training": {"steps": 1, "batch_sequences": 2, "threads": 1},
}


def make(program, folder, *arguments):
    result = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=folder,
                            check=False, timeout=60)
    if result.returncode != 0:
        sys.exit(f"ssmax {' '.join(arguments)}: exit code {result.returncode}\n{result.stderr}")


def written(program, folder, run):
    """A text of a few hundred tokens, every third of which the tokenizer would not know."""
    result = subprocess.run([program, "generate", run, "--temperature", "9"], cwd=folder,
                            capture_output=True, check=False, timeout=60)
    if result.returncode == 0 and len(result.stdout) > 1:
        return []
    return [f"generate {run}: exit code {result.returncode}, {result.stdout!r}\n"
            f"{result.stderr.decode()}"]


def first_line(program, folder, *arguments):
    """The first of stderr."""
    command = [program, "generate", "run", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          cwd=folder) as process:
        line = process.stderr.readline()
        process.kill()
    return line


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "text.txt").write_text("To be read. " * 100)
        (folder / "small.json").write_text(json.dumps(CONFIG))
        make(program, folder, "prepare", "text.txt", "--out", "data")
        make(program, folder, "train", "small.json", "--out", "run")
        failures += written(program, folder, "run")
        # The run's folder alone is enough, wherever it went.
        (folder / "data").rename(folder / "data_elsewhere")
        failures += written(program, folder, "run")
        (folder / "data_elsewhere").rename(folder / "data")
        make(program, folder, "export", "run", "--out", "exported")
        make(program, folder, "import", "exported", "--out", "imported")
        failures += written(program, folder, "imported")  # by the tokenizer in the run's folder
        (folder / "examples.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 4)
        make(program, folder, "train", "small.json", "--out", "tuned", "--data.kind=supervised",
             "--data.train=examples.jsonl", "--data.tokenizer=bytes", "--start.checkpoint=run")
        failures += written(program, folder, "tuned")
        (folder / "elsewhere").mkdir()
        failures += written(program, folder / "elsewhere", "../tuned")
        make(program, folder, "export", "tuned", "--out", "exported_tuned")
        if not (folder / "exported_tuned" / "tokenizer.json").exists():
            failures.append("the export of a fine-tuned model has no tokenizer")
        for label, arguments in (("reading the prompt", ("--prompt", "To be read. " * 10000)),
                                 ("generating", ("--tokens", "200000", "--temperature", "0"))):
            line = first_line(program, folder, *arguments)
            if not (line.startswith(label) and line.endswith(" left\n") and "tokens/s" in line):
                failures.append(f"expected progress of {label}, found {line!r}")
    for failure in failures:
        print(failure)
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
