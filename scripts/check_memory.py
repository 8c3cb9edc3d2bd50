#!/usr/bin/env python3
"""Compares the memory that `ssmax train --dry-run` plans with the peak that a run takes.

    scripts/check_memory.py PROGRAM [--layers 6 --width 384 ...]

Trains three steps on random tokens with a checkpoint at the end, so that the snapshot of the
background save is part of the peak. Exit code 1 when peak and plan differ by more than 15 %.
Needs the Python standard library only.
"""

import argparse
import json
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

from token_shard import write_random_shard

ALLOWED = 0.15
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def planned_bytes(text):
    amount, unit = re.search(r"^\s*total\s+([0-9.]+) (\w+)$", text, re.MULTILINE).groups()
    return float(amount) * UNITS[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_random_shard(folder / "tokens.bin", options.vocabulary, 20 * options.batch * options.length)
        config = {
            "name": "memory",
            "model": {"vocab_size": options.vocabulary, "num_hidden_layers": options.layers,
                      "num_attention_heads": options.heads, "hidden_size": options.width,
                      "intermediate_size": 4 * options.width},
            "data": {"train": [str(folder / "tokens.bin")], "sequence_length": options.length},
            "training": {"steps": 3, "batch_sequences": options.batch,
                         "precision": options.precision},
        }
        (folder / "run.json").write_text(json.dumps(config))
        command = [options.program, "train", str(folder / "run.json"), "--out", str(folder / "run")]
        plan = planned_bytes(subprocess.run([*command, "--dry-run"], check=True, text=True,
                                            capture_output=True).stdout)
        start = time.time()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        first_step = None
        metrics = folder / "run/metrics.jsonl"
        while process.poll() is None:
            if first_step is None and metrics.exists() and '"event":"step"' in metrics.read_text():
                first_step = time.time() - start
            time.sleep(0.02)
        if process.returncode != 0:
            sys.exit(f"check_memory.py: the run ended with {process.returncode}")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"planned {plan / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB, "
          f"{peak / plan - 1:+.1%}; first step after {first_step or 0:.2f} s")
    if abs(peak / plan - 1) > ALLOWED:
        sys.exit("check_memory.py: plan and peak differ by more than 15 %")


if __name__ == "__main__":
    main()
