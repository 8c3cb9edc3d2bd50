#!/usr/bin/env python3
"""Kills a training run again and again and asks whether anybody could tell afterwards.

    scripts/kill_test.py PROGRAM [--kills 200] [--seed 1] [--ranks 1] [--keep]

A small run is trained once without interruption. Then the same command line is started, its whole
process tree is killed with SIGKILL at a seeded random moment, and started again, until the run
ends; run after run until there were KILLS kills. Four of five kills are aimed at a save: they
wait for its temporary folder. A kill counts as inside a save when that folder is still there
afterwards; at least a third must be. Every run must end with the same bytes of weights, moments and
metrics (timings apart) as the uninterrupted one, and no kill may be taken for a fresh start.

With --ranks above 1 the run is under mpirun, with a sharded optimizer, so that every rank writes a
part of a save; one kill in ten must be inside a save. A kill is of the launcher and all ranks, or,
every other time, of one rank alone, after which launcher and other ranks must end by themselves.

Exit code 0 when all of that held. Needs the Python standard library only; writes into a temporary
folder, which --keep leaves behind. The default program is build/cpu/ssmax.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from token_shard import write_shard

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 48
EVERY = 4
LIMIT_SECONDS = 120  # for one launch; a run that takes longer hangs

CONFIG = {
    "name": "kill_test",
    "seed": 7,
    "model": {
        "vocab_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 128,
        "intermediate_size": 256,
        "normalizer": {"kind": "ssmax", "learn_scale": True, "bias": True},
    },
    "data": {"sequence_length": 32},
    "optimizer": {"learning_rate": 1e-3},
    "schedule": {"kind": "cosine", "warmup_steps": 8},
    "training": {"steps": STEPS, "batch_sequences": 8, "micro_batch_sequences": 4,
                 "precision": "fp32", "device": "cpu", "threads": 1},
    "checkpoint": {"every_steps": EVERY, "keep": 2},
    "validation": {"every_steps": 12, "batches": 2},
}

# Keys of metrics.jsonl that depend on the clock; everything else must be equal.
TIMINGS = {"seconds", "tokens_per_second", "model_flops_utilization", "communication_seconds",
           "exposed_seconds"}


def prepare(folder):
    """Data with something to learn, and the config; two epochs pass within the run."""
    draw = random.Random(11)
    vocabulary = CONFIG["model"]["vocab_size"]

    def tokens(count):
        token, result = 0, []
        for _ in range(count):
            token = (token * 5 + draw.choice((1, 1, 1, 2, 17))) % vocabulary
            result.append(token)
        return result

    write_shard(folder / "train.bin", tokens(8 * 32 * 30 + 1))
    write_shard(folder / "validation.bin", tokens(8 * 32 * 4 + 1))
    config = json.loads(json.dumps(CONFIG))
    config["data"]["train"] = [str(folder / "train.bin")]
    config["data"]["validation"] = [str(folder / "validation.bin")]
    path = folder / "config.json"
    path.write_text(json.dumps(config, indent=2))
    return path


class Run:
    """One launch of the program in a process group of its own."""

    def __init__(self, program, config, out, log, ranks=1, draw=None):
        self.out = out
        self.ranks = ranks
        self.draw = draw
        command = [program, "train", str(config), "--out", str(out)]
        if ranks > 1:
            command = [str(ROOT / "scripts/run_ranks.sh"), str(ranks), *command,
                       "--parallel.shard_optimizer=true",
                       f"--training.micro_batch_sequences={max(1, 4 // ranks)}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=subprocess.STDOUT, start_new_session=True)

    def over(self):
        return self.process.poll() is not None

    def children(self):
        pid = self.process.pid
        try:
            text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            return []
        return [int(child) for child in text.split()]

    def kill(self):
        if self.ranks == 1:
            send(os.killpg, self.process.pid)
            self.process.wait()
            return
        children = self.children()
        if children and self.draw.random() < 0.5:
            send(os.kill, self.draw.choice(children))
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                raise SystemExit("FAILED: the launcher outlives a killed rank by 30 s")
        else:
            for pid in [self.process.pid, *children]:  # each rank has a process group of its own
                send(os.kill, pid)
            self.process.wait()
        deadline = time.monotonic() + 30
        while any(alive(pid) for pid in children):
            if time.monotonic() > deadline:
                raise SystemExit("FAILED: a rank outlives its run by 30 s")
            time.sleep(0.001)


def alive(pid):
    """Whether a process runs; one that is dead and only not waited for does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return stat[0] != "Z"
    except (OSError, IndexError):
        return False


def send(kill, pid):
    try:
        kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def unfinished_saves(out):
    try:
        return [entry.name for entry in os.scandir(out / "checkpoints") if ".tmp." in entry.name]
    except FileNotFoundError:
        return []


def finish(run, log_path):
    try:
        code = run.process.wait(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        raise SystemExit(f"FAILED: a run hung for {LIMIT_SECONDS} s; its output is {log_path}")
    if code != 0:
        print(log_path.read_text(errors="replace")[-4000:])
        raise SystemExit(f"FAILED: the run ended with exit code {code}")


def metrics(out):
    """The lines of metrics.jsonl without timings."""
    kept = []
    for number, line in enumerate((out / "metrics.jsonl").read_text().split("\n"), 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except ValueError:
            raise SystemExit(f"FAILED: {out}/metrics.jsonl:{number}: not JSON: {line[:200]!r}")
        kept.append(json.dumps({k: v for k, v in record.items() if k not in TIMINGS},
                               sort_keys=True))
    return kept


def fingerprint(out):
    """{what: value} of everything that must be the same at the end of every run."""
    final = out / "checkpoints" / f"step_{STEPS:08d}"
    result = {}
    for path in sorted(final.glob("*.safetensors")):
        result[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if "model.safetensors" not in result or len(result) < 2:
        raise SystemExit(f"FAILED: {final} lacks weights or moments; it holds {sorted(result)}")
    result["metrics.jsonl"] = metrics(out)
    return result


def explain(expected, found):
    for key in sorted(set(expected) | set(found)):
        if expected.get(key) == found.get(key):
            continue
        if key != "metrics.jsonl":
            return f"{key} differs: {expected.get(key)} against {found.get(key)}"
        for number, (a, b) in enumerate(zip(expected[key], found[key]), 1):
            if a != b:
                return f"metrics line {number} differs:\n  straight {a}\n  resumed  {b}"
        return f"metrics have {len(found[key])} lines instead of {len(expected[key])}"
    return None


class Killer:
    """Draws the moment of each kill: anywhere in a launch, or within the k-th save after it."""

    def __init__(self, draw, launch_seconds, save_seconds):
        self.draw = draw
        self.launch_seconds = launch_seconds
        self.save_seconds = save_seconds

    def anywhere(self, run):
        """Kills after a random time; False when the run was over before."""
        deadline = time.monotonic() + self.draw.uniform(0, self.launch_seconds)
        while time.monotonic() < deadline:
            if run.over():
                return False
            time.sleep(0.001)
        run.kill()
        return True

    def in_save(self, run):
        """Kills a moment after a save has begun; False when the run ended before."""
        skip = self.draw.choice((0, 0, 0, 1, 2))
        delay = self.draw.uniform(0, self.save_seconds)
        seen = set(unfinished_saves(run.out))  # what an earlier kill left
        while not run.over():
            time.sleep(0.0003)
            new = [name for name in unfinished_saves(run.out) if name not in seen]
            if new and skip > 0:
                seen.update(new)
                skip -= 1
            elif new:
                end = time.monotonic() + delay
                while time.monotonic() < end:
                    pass
                run.kill()
                return True
        return False


def straight_run(program, config, folder, log_path, ranks):
    """Trains without interruption; (fingerprint, seconds, seconds of a save)."""
    out = folder / "straight"
    saves, began = [], None
    start = time.monotonic()
    with open(log_path, "ab") as log:
        run = Run(program, config, out, log, ranks)
        while not run.over():
            time.sleep(0.0003)
            saving = bool(unfinished_saves(out))
            if saving and began is None:
                began = time.monotonic()
            elif not saving and began is not None:
                saves.append(time.monotonic() - began)
                began = None
        finish(run, log_path)
    seconds = time.monotonic() - start
    saves.sort()
    return fingerprint(out), seconds, saves[len(saves) // 2] if saves else 0.02


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", nargs="?", default=str(ROOT / "build" / "cpu" / "ssmax"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    arguments = parser.parse_args()

    if arguments.ranks > 1 and shutil.which("mpirun") is None:
        print("skipped: no mpirun here; install openmpi-bin")
        return 77
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ssmax_kill_"))
    log_path = folder / "output.txt"
    draw = random.Random(arguments.seed)
    config = prepare(folder)
    program = str(pathlib.Path(arguments.program).resolve())
    expected, seconds, save_seconds = straight_run(program, config, folder, log_path,
                                                   arguments.ranks)
    print(f"seed {arguments.seed}; straight run {seconds:.2f} s, save {save_seconds * 1e3:.0f} ms",
          flush=True)

    # With a launcher between, the signal takes a while to arrive.
    killer = Killer(draw, seconds, save_seconds * (1.0 if arguments.ranks == 1 else 0.3))
    kills = inside = runs = launches = 0
    failures = []
    while kills < arguments.kills or runs == 0:
        runs += 1
        out = folder / f"killed_{runs}"
        here = 0
        with open(log_path, "ab") as log:
            while True:
                run = Run(program, config, out, log, arguments.ranks, draw)
                launches += 1
                killed = False
                # A run is left alone after so many kills, so that every folder gets to its end.
                if kills < arguments.kills and here < 12:
                    aim = killer.in_save if draw.random() < 0.8 else killer.anywhere
                    killed = aim(run)
                if not killed:
                    finish(run, log_path)
                    break
                kills += 1
                here += 1
                inside += bool(unfinished_saves(out))
        problem = explain(expected, fingerprint(out))
        if problem:
            failures.append(f"run {runs}, killed {here} times, seed {arguments.seed}: {problem}")
            break
        shutil.rmtree(out)
    print(f"{kills} kills, {inside} inside a save, {runs} runs, {launches} launches, "
          f"{len(failures)} failures", flush=True)
    # Under mpirun fewer hit: of two ranks the one that is killed may have done its part.
    share = 3 if arguments.ranks == 1 else 10
    if inside < kills // share:
        failures.append(f"only {inside} of {kills} kills were inside a save; one in {share} is "
                        "asked for")
    for failure in failures:
        print(f"FAILED: {failure}")
    if failures or arguments.keep:
        print(f"left behind: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
