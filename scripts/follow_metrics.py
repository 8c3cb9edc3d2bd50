"""Follows the metrics.jsonl of a run, live or after it has ended; for the scripts that send them on.

A resume cuts the lines behind its checkpoint off and writes them again, the same: the follower starts
over and the caller sees no step twice. Needs the Python standard library only.
"""

import json
import pathlib
import sys
import time

CHECK_SECONDS = 1.0


def metrics_path(run):
    path = pathlib.Path(run)
    return path if path.suffix == ".jsonl" else path / "metrics.jsonl"


def complete_lines(path, position):
    """(lines that are whole, position behind them); the last line of a running program may be cut."""
    with open(path, "rb") as file:
        file.seek(position)
        data = file.read()
    whole = data[:data.rfind(b"\n") + 1]
    return whole.decode("utf-8").splitlines(), position + len(whole)


def follow(run, live, idle_seconds=None):
    """Yields the objects of metrics.jsonl. Steps and validations come once each, in order.

    live: wait for more until the run says `end`, or until nothing has come for `idle_seconds`.
    """
    path = metrics_path(run)
    if not live and not path.exists():
        sys.exit(f"{path}: there is no such file; name a run's folder, or its metrics.jsonl")
    position, waited = 0, 0.0
    last = {"step": -1, "validation": -1}
    while True:
        lines = []
        if path.exists():
            if path.stat().st_size < position:
                position = 0  # cut by a resume
            lines, position = complete_lines(path, position)
        ended = False
        for line in lines:
            entry = json.loads(line)
            event, step = entry.get("event"), entry.get("step", -1)
            ended = event == "end"
            if event in last:
                if step <= last[event]:
                    continue
                last[event] = step
            yield entry
        if ended or not live:
            return
        waited = 0.0 if lines else waited + CHECK_SECONDS
        if idle_seconds is not None and waited >= idle_seconds:
            return
        time.sleep(CHECK_SECONDS)


def numbers(entry):
    """The numbers of a line by name, validation apart; without the step itself."""
    prefix = "validation/" if entry.get("event") == "validation" else "train/"
    return {prefix + key: value for key, value in entry.items()
            if key != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)}


def run_config(run):
    """The resolved config with dotted keys; empty without config.json."""
    path = metrics_path(run).with_name("config.json")
    flat = {}

    def visit(value, prefix):
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, f"{prefix}.{key}" if prefix else key)
        else:
            flat[prefix] = value

    if path.exists():
        visit(json.loads(path.read_text(encoding="utf-8")), "")
    return flat


def add_arguments(parser):
    parser.add_argument("run", help="a run's folder, or its metrics.jsonl")
    parser.add_argument("--live", action="store_true", help="wait for more until the run ends")
    parser.add_argument("--idle-seconds", type=float, metavar="S",
                        help="with --live: stop when nothing has come for so long")
