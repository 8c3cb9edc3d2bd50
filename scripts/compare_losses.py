#!/usr/bin/env python3
"""Compares the losses of two runs, step by step: the proof that a refactor changed nothing.

    python scripts/compare_losses.py RUN_A RUN_B [--tolerance 0] [--event step]

RUN is a run's folder or its metrics.jsonl. Prints the largest absolute and relative difference and
the first step that differs. Exit code 0 when every common step agrees within the tolerance (absolute;
0 means bit-equal), 1 when one does not or a run has steps that the other lacks, 2 on bad input.
Needs the Python standard library only.
"""

import argparse
import json
import math
import pathlib
import sys


def fail(message):
    print(f"compare_losses.py: {message}", file=sys.stderr)
    sys.exit(2)


def read_losses(path, event):
    """{step: loss} of one run; a step written twice keeps its last value, as after a resume."""
    path = pathlib.Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    losses = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        fail(f"{path}: {error.strerror}; give a run's folder or its metrics.jsonl")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if record.get("event") == event:
                # JSON has no NaN: a program writes null (or "nan") for a loss that is not finite
                loss = record["loss"]
                losses[int(record["step"])] = math.nan if loss is None else float(loss)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fail(f"{path}:{number}: not a metrics line ({type(error).__name__}: {error})")
    if not losses:
        fail(f"{path}: no line with \"event\": \"{event}\"")
    return losses


def difference(a, b):
    """Absolute and relative difference; two NaN or two equal infinities agree."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0, 0.0
    gap = abs(a - b)
    if not math.isfinite(gap):
        return math.inf, math.inf
    return gap, gap / max(abs(a), abs(b))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--tolerance", type=float, default=0.0,
                        help="largest absolute difference allowed (default 0: bit-equal)")
    parser.add_argument("--event", default="step", choices=["step", "validation"])
    arguments = parser.parse_args()
    if not arguments.tolerance >= 0:
        fail(f"--tolerance {arguments.tolerance}: expected a number that is not negative")

    a, b = (read_losses(path, arguments.event) for path in (arguments.a, arguments.b))
    common = sorted(set(a) & set(b))
    if not common:
        fail("the two runs have no step in common")
    gaps = {step: difference(a[step], b[step]) for step in common}
    largest = max(common, key=lambda step: gaps[step][0])
    relative = max(common, key=lambda step: gaps[step][1])
    differing = [step for step in common if gaps[step][0] > 0]
    beyond = [step for step in common if gaps[step][0] > arguments.tolerance]

    print(f"steps compared              {len(common)} ({common[0]} to {common[-1]})")
    print(f"largest absolute difference {gaps[largest][0]:.6g} at step {largest}"
          f" ({a[largest]!r} against {b[largest]!r})")
    print(f"largest relative difference {gaps[relative][1]:.6g} at step {relative}")
    print(f"steps that differ           {len(differing)}"
          + (f", the first is {differing[0]}" if differing else ""))
    lonely = sorted(set(a) ^ set(b))
    if lonely:
        print(f"steps in one run only       {len(lonely)}, the first is {lonely[0]}")
    if beyond:
        print(f"beyond the tolerance        {len(beyond)}, the first is {beyond[0]}")
    sys.exit(1 if beyond or lonely else 0)


if __name__ == "__main__":
    main()
