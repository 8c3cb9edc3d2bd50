#!/usr/bin/env python3
"""Sends the metrics of a run to MLflow, live or after the run has ended.

    scripts/log_to_mlflow.py RUN [--live] [--experiment ssmax] [--name NAME] [--tracking-uri URI]

Without --tracking-uri MLflow's own setting counts (MLFLOW_TRACKING_URI, or a database in this
folder). config.json becomes the run's parameters. Needs `pip install mlflow`.
"""

import argparse
import pathlib
import sys
import time

from follow_metrics import add_arguments, follow, metrics_path, numbers, run_config

BATCH = 500  # numbers of one request; MLflow takes at most 1,000
PARAMETERS = 100  # of one request
SEND_SECONDS = 5.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--experiment", default="ssmax")
    parser.add_argument("--name", help="default: the run's name")
    parser.add_argument("--tracking-uri", help="server, or sqlite:///FILE")
    arguments = parser.parse_args()
    try:
        import mlflow
        from mlflow.entities import Metric, Param
    except ImportError:
        sys.exit("log_to_mlflow.py: mlflow is missing; run `pip install mlflow`")
    if arguments.tracking_uri:
        mlflow.set_tracking_uri(arguments.tracking_uri)
    mlflow.set_experiment(arguments.experiment)
    client = mlflow.MlflowClient()
    config = run_config(arguments.run)
    path = metrics_path(arguments.run).resolve()
    name = arguments.name or config.get("name") or pathlib.Path(path).parent.name
    last = -1
    with mlflow.start_run(run_name=name) as run:
        mlflow.set_tag("ssmax.metrics", str(path))
        parameters = [Param(key, str(value)[:6000]) for key, value in config.items()]
        for first in range(0, len(parameters), PARAMETERS):
            client.log_batch(run.info.run_id, params=parameters[first:first + PARAMETERS])
        batch, sent = [], time.monotonic()
        for entry in follow(arguments.run, arguments.live, arguments.idle_seconds):
            if entry.get("event") not in ("step", "validation"):
                continue
            last = entry["step"]
            now = int(time.time() * 1000)
            batch += [Metric(key, float(value), now, last) for key, value in numbers(entry).items()]
            if len(batch) >= BATCH or time.monotonic() - sent > SEND_SECONDS:
                client.log_batch(run.info.run_id, metrics=batch)
                batch, sent = [], time.monotonic()
        if batch:
            client.log_batch(run.info.run_id, metrics=batch)
    print(f"{name}: sent to step {last}")


if __name__ == "__main__":
    main()
