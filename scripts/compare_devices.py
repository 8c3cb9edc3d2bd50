#!/usr/bin/env python3
"""Trains on the CPU and on a GPU from the same data and seed, and lays the curves over each other.

    scripts/compare_devices.py PROGRAM --out NAME --train GLOB --validation GLOB
        [--config FILE ...] [--steps 200] [--set KEY=VALUE ...]

Three runs of every config, by default four of configs/mini: bf16 on both devices, and fp32 on the CPU,
which shows what bf16 itself changes. The GPU's go side by side with the CPU's. Writes NAME.md, with
the largest and mean difference of the losses, NAME.png and NAME.svg (with matplotlib, see plot.py),
and the runs into NAME/{cpu_bf16,cuda_bf16,cpu_fp32}. Started again it goes on where it was stopped.

Exit code 1 when a difference is beyond its bound. Needs the Python standard library, for the figure
matplotlib.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

from compare_losses import difference, read_losses
from follow_metrics import complete_lines, metrics_path

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = [f"configs/mini/{name}.json"
           for name in ("a_softmax", "b_ssmax", "d_ssmax_bias", "self_adjust")]
CPU, GPU, CPU_FP32 = "cpu_bf16", "cuda_bf16", "cpu_fp32"

# bf16 rounds a logit by 2^-9, up or down, and the loss is the mean over a batch: with the same weights
# bf16 and fp32 on one processor differ by 3e-5 to 1e-4 with 512 tokens to a batch.
FIRST_STEP = 5e-4
# AdamW passes on the sign of a gradient that is near 0, and the trajectories part: bf16 and fp32 by up
# to 7e-4 within these steps.
EARLY, EARLY_STEPS = 3e-3, 20
# Later they are two samples of one training: two seeds differ by 2e-2, bf16 and fp32 by 4e-4 to 5e-3.
MEAN = 2e-2


class Chain(threading.Thread):
    """Runs of one device, one after the other."""

    def __init__(self, runs):
        super().__init__()
        self.runs, self.failed, self.process, self.stopped = runs, None, None, False

    def run(self):
        for folder, command in self.runs:
            if self.stopped:
                return
            folder.parent.mkdir(parents=True, exist_ok=True)
            with open(f"{folder}.log", "w", encoding="utf-8") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log)
            if self.process.wait() != 0:
                self.failed = folder
                return

    def stop(self):
        self.stopped = True
        if self.process:
            self.process.terminate()


def command_of(options, config, folder):
    device, precision = folder.parent.name.split("_")
    command = [options.program, "train", str(config), "--out", str(folder),
               f"--data.train=[{json.dumps(options.train)}]",
               f"--data.validation=[{json.dumps(options.validation)}]",
               f"--training.steps={options.steps}", f"--validation.every_steps={options.steps}",
               f"--checkpoint.every_steps={options.steps}",
               f"--training.device={device}", f"--training.precision={precision}"]
    if device == "cpu":  # what feeds the GPU needs a core
        command.append(f"--training.threads={max(1, len(os.sched_getaffinity(0)) - 2)}")
    return command + [f"--{pair}" for pair in options.set]


def steps_done(folder):
    path = metrics_path(folder)
    lines = complete_lines(path, 0)[0] if path.exists() else []
    return sum('"event":"step"' in line for line in lines)


def wait_for(chains, steps):
    """Shows how far the runs are; ends them when one fails."""
    begin, shown = time.monotonic(), -1
    first = [sum(steps_done(folder) for folder, _ in chain.runs) for chain in chains]
    total = steps * sum(len(chain.runs) for chain in chains)
    for chain in chains:
        chain.start()
    while any(chain.is_alive() for chain in chains):
        time.sleep(1)
        for chain in chains:
            if chain.failed:
                for other in chains:
                    other.stop()
                text = pathlib.Path(f"{chain.failed}.log").read_text(encoding="utf-8")
                sys.exit(f"compare_devices.py: {chain.failed} failed:\n{text[-2000:]}")
        done = [sum(steps_done(folder) for folder, _ in chain.runs) for chain in chains]
        share = 100 * sum(done) // total
        if share == shown or not (sys.stderr.isatty() or share >= shown + 10):
            continue
        shown = share
        # the slower device counts
        left = max((steps * len(chain.runs) - now) * (time.monotonic() - begin) / max(1, now - before)
                   for chain, now, before in zip(chains, done, first))
        print(f"curves  {share}%  {sum(done)}/{total} steps  {left:.0f} s left", file=sys.stderr,
              end="    \r" if sys.stderr.isatty() else "\n", flush=True)


def device_of(run):
    """As the program names it."""
    found = re.search(r": on (.+)", (run / "log.txt").read_text(encoding="utf-8"))
    return found.group(1) if found else run.parent.name


def compare(out, name):
    """The row of a table, and what is beyond its bound."""
    # The runs have ended, so all have every step.
    cpu, gpu, fp32 = (read_losses(out / kind / name, "step") for kind in (CPU, GPU, CPU_FP32))
    validation = [read_losses(out / kind / name, "validation") for kind in (CPU, GPU)]
    gaps = [difference(cpu[step], gpu[step])[0] for step in sorted(cpu)]
    rounding = [difference(cpu[step], fp32[step])[0] for step in sorted(cpu)]
    last = max(cpu)
    found = [("at the first step", gaps[0], FIRST_STEP),
             (f"in the first {EARLY_STEPS} steps", max(gaps[:EARLY_STEPS]), EARLY),
             ("as the mean over all steps", statistics.fmean(gaps), MEAN)]
    row = (f"| {name} | {validation[0][last]:.4f} | {validation[1][last]:.4f} | "
           + " | ".join(f"{gap:.1e}" for _, gap, _ in found)
           + f" | {max(gaps):.1e} | {statistics.fmean(rounding):.1e} | {max(rounding):.1e} |")
    return row, [f"{name}: the losses differ by {gap:.2e} {where}, expected at most {bound:g}"
                 for where, gap, bound in found if not gap <= bound]


def report(options, rows, problems, figure):
    out, configs = pathlib.Path(options.out), options.config
    devices = [device_of(out / kind / configs[0].stem) for kind in (CPU, GPU)]
    lines = [f"{options.steps} steps on {devices[0]} and on {devices[1]}. Absolute differences of "
             "training losses in nats per token: of the GPU from the CPU, both in bf16; and, for how "
             "much bf16 itself changes, of bf16 from fp32 on the CPU.", "",
             "| config | validation, CPU | validation, GPU | first step | "
             f"first {EARLY_STEPS} steps | mean | largest | bf16 from fp32: mean | largest |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
             *rows,
             f"| bound | | | {FIRST_STEP:g} | {EARLY:g} | {MEAN:g} | | | |", "",
             *[f"* {problem}" for problem in problems], *([""] if problems else []), figure, ""]
    pathlib.Path(f"{out}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def draw(out):
    """What the report says in the place of the figure."""
    command = [str(ROOT / "scripts/plot.py"), "against",
               *(str(out / kind) for kind in (CPU, GPU, CPU_FP32)), "--out", str(out)]
    drawn = subprocess.run([sys.executable, *command], text=True, capture_output=True)
    if drawn.returncode == 0:
        return f"![Losses on both devices, and their difference]({out.name}.svg)"
    return f"No figure: {drawn.stderr.strip()}. It is drawn by\n\n```\n{' '.join(command)}\n```"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--out", required=True, metavar="NAME")
    parser.add_argument("--train", required=True, metavar="GLOB")
    parser.add_argument("--validation", required=True, metavar="GLOB")
    parser.add_argument("--config", action="append", metavar="FILE")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a key of the config, for all runs")
    options = parser.parse_args()
    options.config = [pathlib.Path(path)
                      for path in options.config or [ROOT / config for config in CONFIGS]]
    out = pathlib.Path(options.out)
    chains = []
    for kinds in ((GPU,), (CPU, CPU_FP32)):
        runs = [(config, out / kind / config.stem) for config in options.config for kind in kinds]
        chains.append(Chain([(folder, command_of(options, config, folder))
                             for config, folder in runs]))
    wait_for(chains, options.steps)
    rows, problems = [], []
    for config in options.config:
        row, found = compare(out, config.stem)
        rows.append(row)
        problems += found
    report(options, rows, problems, draw(out))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
