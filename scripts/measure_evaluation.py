#!/usr/bin/env python3
"""Time and memory of each evaluation against the sequence length T, as a table in Markdown.

    scripts/measure_evaluation.py CHECKPOINT --data 'data/long/train_*.bin' --haystack long.jsonl
        [--ssmax build/cpu/ssmax] [--lengths 1024,2048,4096,8192,16384,32768] [--tokenizer T]

One sequence or trial a call, so that T alone matters: positions forwards the whole sequence at once,
needle, attention and fading go through the KV cache. Seconds are of the whole call, model loading and
reading of the text included; memory is the largest resident set. Needs a quiet machine.
"""

import argparse
import os
import subprocess
import sys
import time


def measure(command):
    """(seconds, MiB) of one run of the program."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(command)}\n{errors[-2000:]}")
    return time.monotonic() - begin, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--ssmax", default="build/cpu/ssmax")
    parser.add_argument("--data", required=True)
    parser.add_argument("--haystack", required=True)
    parser.add_argument("--tokenizer")
    parser.add_argument("--lengths", default="1024,2048,4096,8192,16384,32768")
    arguments = parser.parse_args()
    lengths = [int(length) for length in arguments.lengths.split(",")]
    sequences = ["--data", arguments.data, "--sequences", "1", "--documents", "--sequence-length"]
    texts = ["--haystack", arguments.haystack, "--trials", "1"]
    if arguments.tokenizer:
        texts += ["--tokenizer", arguments.tokenizer]
    tasks = {
        "positions": lambda t: ["positions", *sequences, str(t)],
        "fading": lambda t: ["fading", *sequences, str(t)],
        "needle": lambda t: ["needle", *texts, "--depths", "0.5", "--contexts", str(t)],
        "attention": lambda t: ["attention", *texts, "--depth", "0.5", "--contexts", str(t)],
    }
    print("| task | " + " | ".join(f"T = {t:,}" for t in lengths) + " |")
    print("|---" + "|---:" * len(lengths) + "|")
    for name, command_of in tasks.items():
        cells = []
        for length in lengths:
            seconds, mebibytes = measure([arguments.ssmax, "evaluate", arguments.checkpoint,
                                          *command_of(length)])
            cells.append(f"{seconds:.1f} s, {mebibytes:,.0f} MiB")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
