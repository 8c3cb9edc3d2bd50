#!/usr/bin/env python3
"""Measures training on several ranks of this machine: speed, and how much communication backward hides.

    scripts/measure_ranks.py PROGRAM [--ranks 1,2,4] [--steps 30] [--layers 6 ...] [--set KEY=VALUE]

Every number of ranks trains the same global batch on random tokens, one thread per rank, so that one
rank is the speed of one core; with --set training.device=cuda the ranks of a machine take its GPUs
in turn, and one rank is the speed of one GPU. Prints a table in Markdown, medians over the steps after the first
five:

communication  seconds of a step that the thread which sums gradients and gathers weights was at work
hidden         the share of it in which the step went on computing; the rest it waited for
efficiency     tokens per second over those of one rank times the ranks; with fewer cores than ranks
               it is out of reach

Needs mpirun and the Python standard library.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from token_shard import write_random_shard

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = 5


def run(options, ranks, folder):
    """The step lines of metrics.jsonl."""
    out = folder / f"ranks_{ranks}"
    command = [str(ROOT / "scripts/run_ranks.sh"), str(ranks), options.program, "train",
               str(folder / "run.json"), "--out", str(out),
               f"--training.micro_batch_sequences={options.batch // max(options.ranks)}",
               *[f"--{pair}" for pair in options.set]]
    print(f"{ranks} ranks", file=sys.stderr)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "step"][SKIPPED:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--ranks", type=lambda text: [int(n) for n in text.split(",")],
                        default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="sequences of all ranks together")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a key of the config, such as parallel.shard_optimizer=true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_random_shard(folder / "tokens.bin", options.vocabulary,
                    4 * options.batch * options.length + 1)
        (folder / "run.json").write_text(json.dumps({
            "name": "ranks",
            "model": {"vocab_size": options.vocabulary, "num_hidden_layers": options.layers,
                      "num_attention_heads": options.heads, "hidden_size": options.width,
                      "intermediate_size": 4 * options.width},
            "data": {"train": [str(folder / "tokens.bin")], "sequence_length": options.length},
            "training": {"steps": options.steps + SKIPPED, "batch_sequences": options.batch,
                         "threads": 1},
            "checkpoint": {"every_steps": 1000000},
        }))
        print(f"{os.cpu_count()} cores, global batch {options.batch} x {options.length} tokens"
              f"{''.join(', ' + pair for pair in options.set)}\n")
        print("| ranks | tokens/s | efficiency | step, ms | communication, ms | hidden |")
        print("|---:|---:|---:|---:|---:|---:|")
        base = None
        for ranks in options.ranks:
            steps = run(options, ranks, folder)
            speed = statistics.median(step["tokens_per_second"] for step in steps)
            base = base or speed / ranks
            sent = statistics.median(step.get("communication_seconds", 0.0) for step in steps)
            waited = statistics.median(step.get("exposed_seconds", 0.0) for step in steps)
            hidden = f"{100 * max(0.0, 1 - waited / sent):.0f} %" if sent else "–"
            print(f"| {ranks} | {speed:,.0f} | {100 * speed / ranks / base:.0f} % | "
                  f"{1e3 * options.batch * options.length / speed:.0f} | {1e3 * sent:.1f} | "
                  f"{hidden} |", flush=True)


if __name__ == "__main__":
    main()
