#!/usr/bin/env python3
"""Kills scripts/prepare_dataset.py at random moments: the shards must end as if nobody had.

    tests/faults/prepare_dataset_test.py PROGRAM [--seed N] [--python PYTHON]

Skipped by name, with exit code 77, where `datasets` is not installed.
"""

import argparse
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "prepare_dataset.py"
SKIPPED = 77


def write_documents(folder, generator):
    folder.mkdir()
    words = ["alpha", "beta", "gamma", "delta"]
    for number in range(3):
        with open(folder / f"{number}.jsonl", "w", encoding="utf-8") as file:
            for i in range(1000):
                text = " ".join(generator.choices(words, k=generator.randint(1, 80)))
                file.write(json.dumps({"text": f"{number} {i} {text}"}) + "\n")


def command(arguments, data, out):
    return [arguments.python, str(SCRIPT), str(data), "--tokenizer", "bytes", "--out", str(out),
            "--part-mb", "0.1", "--validation-fraction", "0.02", "--program", arguments.program]


def contents(folder):
    """Hash of every file that a user sees; progress.json names a state of the library."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir()) if path.name != "progress.json"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    arguments.program = str(pathlib.Path(arguments.program).resolve())
    if subprocess.run([arguments.python, "-c", "import datasets"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        print("prepare_dataset_test: skipped, datasets is not installed")
        return SKIPPED
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_documents(folder / "data", generator)
        started = time.monotonic()
        subprocess.run(command(arguments, folder / "data", folder / "whole"), check=True,
                       capture_output=True)
        seconds = time.monotonic() - started
        kills = 0
        while True:
            process = subprocess.Popen(command(arguments, folder / "data", folder / "killed"),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # Every third attempt may end, so that a slow machine comes to an end too.
            limit = None if kills % 3 == 2 and kills > 9 else generator.uniform(0.3, 1.0) * seconds
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
            if code != 0:
                sys.exit(f"seed {arguments.seed}: exit code {code} after {kills} kills")
            break
        if contents(folder / "whole") != contents(folder / "killed"):
            sys.exit(f"seed {arguments.seed}: other files after {kills} kills:\n"
                     f"{contents(folder / 'whole')}\n{contents(folder / 'killed')}")
    print(f"prepare_dataset_test: the same files after {kills} kills")
    return 0


if __name__ == "__main__":
    sys.exit(main())
