#!/usr/bin/env python3
"""How fast `ssmax` starts: `--help`, and the first training step of a mini run.

    scripts/check_start.py PROGRAM [--repeat 3]

Prints the clock and the CPU time (user + system) of `--help` and of a run of configs/mini/b_ssmax.json
from its launch to the end of its first step, on random tokens. Exit code 1 when the CPU time of
`--help` is over 50 ms or that of the first step over two seconds for each thread; the clock is only
shown, since other work on the machine moves it. Needs the Python standard library only.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from token_shard import write_random_shard

HELP_SECONDS = 0.05
STEP_SECONDS = 2.0
CONFIG = pathlib.Path(__file__).resolve().parent.parent / "configs/mini/b_ssmax.json"


def measure(command):
    """Clock and CPU seconds of a process with its threads."""
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, start = used(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start, used() - before


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_first_step(program, folder, shard):
    command = [program, "train", str(CONFIG), "--out", str(folder), f"--data.train={json.dumps([str(shard)])}",
               f"--data.validation={json.dumps([str(shard)])}"]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        metrics = folder / "metrics.jsonl"
        try:
            while process.poll() is None:
                if metrics.exists() and '"event":"step"' in metrics.read_text():
                    return time.monotonic() - start, cpu_seconds(process.pid)
                time.sleep(0.005)
        finally:
            process.kill()
        sys.exit(f"check_start.py: the run ended early:\n{process.stderr.read().decode()[-1500:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    vocabulary = json.loads(subprocess.run(
        [options.program, "train", str(CONFIG), "--print-config"], check=True, text=True,
        capture_output=True).stdout)["model"]["vocab_size"]
    helps, steps = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_random_shard(folder / "tokens.bin", vocabulary, 200_000)
        for turn in range(options.repeat):
            helps.append(measure([options.program, "--help"]))
            steps.append(measure_first_step(options.program, folder / str(turn),
                                            folder / "tokens.bin"))
    threads = len(os.sched_getaffinity(0))
    slow = False
    for name, runs, limit in (("--help", helps, HELP_SECONDS),
                              ("first step", steps, STEP_SECONDS * threads)):
        clock, cpu = min(run[0] for run in runs), min(run[1] for run in runs)
        slow = slow or cpu > limit
        print(f"{name:<12} {clock * 1e3:8.0f} ms by the clock {cpu * 1e3:8.0f} ms of CPU time, "
              f"at most {limit * 1e3:.0f}")
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
