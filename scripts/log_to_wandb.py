#!/usr/bin/env python3
"""Sends the metrics of a run to Weights & Biases, live or after the run has ended.

    scripts/log_to_wandb.py RUN [--live] [--project ssmax] [--name NAME] [--offline]

Steps and validations become charts over the step, config.json the run's config. Started again for
the same run it goes on in the same W&B run. --offline writes into ./wandb for `wandb sync`.
Needs `pip install wandb`.
"""

import argparse
import hashlib
import os
import pathlib
import sys

from follow_metrics import add_arguments, follow, metrics_path, numbers, run_config


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--project", default="ssmax")
    parser.add_argument("--name", help="default: the run's name")
    parser.add_argument("--offline", action="store_true", help="write to ./wandb only")
    arguments = parser.parse_args()
    try:
        import wandb
    except ImportError:
        sys.exit("log_to_wandb.py: wandb is missing; run `pip install wandb`")
    if arguments.offline:
        os.environ["WANDB_MODE"] = "offline"
    config = run_config(arguments.run)
    path = metrics_path(arguments.run).resolve()
    name = arguments.name or config.get("name") or pathlib.Path(path).parent.name
    # The same folder is the same run, so that a second call continues it.
    identity = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    run = wandb.init(project=arguments.project, name=name, id=identity, resume="allow",
                     config=config)
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    # What an earlier call sent; offline nobody can know.
    sent = int(run.summary.get("step", -1)) if run.resumed else -1
    last = sent
    for entry in follow(arguments.run, arguments.live, arguments.idle_seconds):
        if entry.get("event") in ("step", "validation") and entry["step"] > sent:
            run.log({"step": entry["step"], **numbers(entry)})
            last = entry["step"]
    run.finish()
    print(f"{name}: sent to step {last}")


if __name__ == "__main__":
    main()
