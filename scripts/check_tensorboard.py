#!/usr/bin/env python3
"""Checks that TensorBoard itself reads a run's event files, and reads what metrics.jsonl says.

    python scripts/check_tensorboard.py RUN

RUN is a run's folder. Every finite number of metrics.jsonl must be there once, rounded to float32,
and nothing else. Exit code 0 when all agrees, 1 when not, 2 on bad input, 77 without the package.
Needs the package tensorboard.
"""

import json
import pathlib
import struct
import sys

STEP_TAGS = {
    "loss/train": "loss",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
    "tokens_per_second": "tokens_per_second",
    "model_flops_utilization": "model_flops_utilization",
}


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected_scalars(metrics):
    """{tag: [(step, value), ...]} of metrics.jsonl, without values that are not finite."""
    scalars = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["event"] == "step":
            tags = STEP_TAGS
        elif record["event"] == "validation":
            tags = {"loss/validation": "loss"}
        else:
            continue
        for tag, key in tags.items():
            if record[key] is not None:
                scalars.setdefault(tag, []).append((record["step"], float32(record[key])))
    return scalars


def finite(value):
    return value == value and abs(value) != float("inf")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    run = pathlib.Path(sys.argv[1])
    metrics = run / "metrics.jsonl"
    if not metrics.is_file():
        print(f"check_tensorboard.py: {metrics}: no such file; give a run's folder", file=sys.stderr)
        return 2
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        print("check_tensorboard.py: skipped: no package tensorboard", file=sys.stderr)
        return 77

    board = EventAccumulator(str(run), size_guidance={"scalars": 0})
    board.Reload()
    expected = expected_scalars(metrics)
    failures = 0
    for tag in sorted(set(expected) | set(board.Tags()["scalars"])):
        found = []
        if tag in board.Tags()["scalars"]:
            found = [(e.step, e.value) for e in board.Scalars(tag) if finite(e.value)]
        if found != expected.get(tag, []):
            failures += 1
            different = sorted(set(found) ^ set(expected.get(tag, [])))[:4]
            print(f"{tag}: {len(found)} values in TensorBoard, {len(expected.get(tag, []))} in "
                  f"metrics.jsonl; differing (step, value): {different}", file=sys.stderr)
        else:
            print(f"{tag}: {len(found)} values agree", file=sys.stderr)
    return 1 if failures or not expected else 0


if __name__ == "__main__":
    sys.exit(main())
