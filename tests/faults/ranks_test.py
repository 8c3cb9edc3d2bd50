#!/usr/bin/env python3
"""Several ranks, from the outside: resume on another number of them, and everything that can befall
one of them.

    tests/faults/ranks_test.py PROGRAM [--only NAME] [--sanitized] [--keep]

resume    runs saved by 1, 2 and 4 ranks, with a sharded optimizer, go on on every other number; in
          fp64 all losses equal those of one rank to 1e-9, so every step saw the same sequences
failures  a rank killed, stopped, out of memory, with another config; the launcher killed; signals to
          the launcher and to one rank; a loss that is not finite. Exit codes, messages, and that
          nothing is left running; prints how long each took

Every check runs under mpirun; exit code 77 where there is none. Needs the Python standard library
only.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import kill_test  # noqa: E402

LIMIT_SECONDS = 90  # of one launch
GONE_SECONDS = 30  # until nothing of a failed run is left


class Ranks:
    """A command under mpirun, or without it over TCP."""

    def __init__(self, ranks, command, launcher=(), tcp=False):
        options = ["--oversubscribe", *launcher]
        if os.getuid() == 0:
            options.append("--allow-run-as-root")
        if isinstance(command[0], list):  # one program per rank
            apps = []
            for part in command:
                apps += ([":"] if apps else []) + ["-np", "1", *part]
        else:
            apps = ["-np", str(ranks), *command]
        self.output = tempfile.TemporaryFile()
        start = ["mpirun", *options, *apps]
        if tcp:
            start = [str(ROOT / "scripts/run_ranks.sh"), "--tcp", str(ranks), *command]
        self.variable = "RANK" if tcp else "OMPI_COMM_WORLD_RANK"
        self.process = subprocess.Popen(start, stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=subprocess.STDOUT,
                                        start_new_session=True)

    def text(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def pids(self):
        """{rank: process id} of the ranks that live."""
        result = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) != self.process.pid:
                    continue
                variables = dict(pair.split("=", 1) for pair in
                                 (entry / "environ").read_text().split("\0") if "=" in pair)
                if self.variable in variables and fields[0] != "Z":
                    result[int(variables[self.variable])] = int(entry.name)
            except (OSError, ValueError, IndexError):
                continue
        return result

    def wait(self, seconds=LIMIT_SECONDS):
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise SystemExit(f"FAILED: mpirun still runs after {seconds} s\n{self.text()}")

    def end(self):
        for pid in [*self.pids().values(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


class Suite:
    def __init__(self, program, folder, sanitized):
        self.program = program
        self.sanitized = sanitized
        self.folder = folder
        self.config = kill_test.prepare(folder)
        self.failures = []

    def command(self, out, *overrides):
        return [self.program, "train", str(self.config), "--out", str(out),
                "--training.micro_batch_sequences=2", *overrides]

    def expect(self, condition, what, run=None):
        if not condition:
            self.failures.append(what)
            print(f"FAILED: {what}")
            if run:
                print(run.text()[-3000:])

    def train(self, ranks, out, *overrides):
        run = Ranks(ranks, self.command(out, *overrides))
        code = run.wait()
        self.expect(code == 0, f"{out.name} on {ranks} ranks ended with {code}", run)
        return run

    # resume

    def resume(self):
        overrides = ["--training.steps=12", "--training.precision=fp64", "--checkpoint.keep=9",
                     "--parallel.shard_optimizer=true", "--validation.every_steps=6"]
        losses = {}
        for ranks in (1, 2, 4):
            out = self.folder / f"saved_by_{ranks}"
            self.train(ranks, out, *overrides)
            losses[ranks] = self.losses(out)
            files = sorted(p.name for p in (out / "checkpoints/step_00000012").iterdir())
            moments = ["optimizer.safetensors"] if ranks == 1 else [
                f"optimizer-{rank:05d}-of-{ranks:05d}.safetensors" for rank in range(ranks)]
            self.expect(files == sorted(["manifest.json", "model.safetensors", *moments]),
                        f"{ranks} ranks wrote {files}")
        for ranks in (2, 4):
            self.compare(losses[1], losses[ranks], f"{ranks} ranks")
        for before, after in ((1, 2), (1, 4), (2, 1), (2, 4), (4, 1), (4, 2)):
            out = self.folder / f"from_{before}_to_{after}"
            shutil.copytree(self.folder / f"saved_by_{before}", out)
            for step in (8, 12):
                shutil.rmtree(out / f"checkpoints/step_{step:08d}")
            run = self.train(after, out, *overrides)
            self.expect("resuming at step 4 " in run.text(), f"{out.name} did not resume", run)
            self.compare(losses[1], self.losses(out), out.name)
        print("resume: 1, 2 and 4 ranks to each other, losses as of one rank")

    def losses(self, out):
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [(line["event"], line["step"], line["loss"]) for line in lines if "loss" in line]

    def compare(self, expected, found, what):
        same = len(expected) == len(found) and all(
            a[:2] == b[:2] and abs(a[2] - b[2]) <= 1e-9 for a, b in zip(expected, found))
        self.expect(same, f"{what}: other losses than one rank\n{expected}\n{found}")

    # failures

    def started(self, name, *overrides, launcher=(), tcp=False):
        """A run without end, a few steps in."""
        out = self.folder / name
        run = Ranks(2, self.command(out, "--training.steps=1000000",
                                        "--checkpoint.every_steps=1000000",
                                        "--validation.every_steps=0", *overrides), launcher, tcp)
        deadline = time.monotonic() + LIMIT_SECONDS
        while run.process.poll() is None and time.monotonic() < deadline:
            if (out / "metrics.jsonl").exists() and \
                    (out / "metrics.jsonl").read_text().count('"event":"step"') >= 3:
                return run, out, run.pids()
            time.sleep(0.02)
        print(run.text())
        run.end()
        raise SystemExit(f"FAILED: {name} did not start")

    def ended(self, name, run, pids, since, codes, *messages):
        """Waits until launcher and ranks are gone; checks exit code and messages."""
        code = run.wait()
        while any(kill_test.alive(pid) for pid in pids.values()):
            if time.monotonic() - since > GONE_SECONDS:
                self.expect(False, f"{name}: ranks still run after {GONE_SECONDS} s", run)
                run.end()
                return
            time.sleep(0.02)
        seconds = time.monotonic() - since
        self.expect(code in codes, f"{name}: mpirun ended with {code}, expected {codes}", run)
        for message in messages:
            self.expect(message in run.text(), f"{name}: no \"{message}\" in the output", run)
        print(f"{name}: gone after {seconds:.1f} s, exit code {code}")

    def killed_rank(self):
        run, out, pids = self.started("killed_rank")
        since = time.monotonic()
        os.kill(pids[1], signal.SIGKILL)
        # mpirun names rank, process and machine; the rank that is left says where it waits.
        self.ended("a rank is killed", run, pids, since, {137}, "rank 1", "waits for rank 1 on")

    def killed_launcher(self):
        run, out, pids = self.started("killed_launcher")
        since = time.monotonic()
        run.process.kill()
        self.ended("the launcher is killed", run, pids, since, {-signal.SIGKILL})

    def stopped_rank(self):
        run, out, pids = self.started("stopped_rank", "--training.hang_timeout_seconds=2")
        since = time.monotonic()
        os.kill(pids[1], signal.SIGSTOP)
        self.ended("a rank hangs", run, pids, since, {7}, "rank 1 on", "silent for")

    def signalled(self, name, send, codes=(75,), message="stopped at step", launcher=()):
        run, out, pids = self.started(name.replace(" ", "_"), launcher=launcher)
        since = time.monotonic()
        send(run, pids)
        self.ended(name, run, pids, since, codes, message)
        saved = [path.name for path in (out / "checkpoints").glob("step_*")]
        self.expect(len(saved) == 1, f"{name}: {saved} instead of one checkpoint")
        steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().split("\n")
                 if '"event":"step"' in line]
        self.expect(saved == [f"step_{steps[-1]:08d}"], f"{name}: {saved} after step {steps[-1]}")

    def signals(self):
        self.signalled("SIGUSR1 to the launcher",
                       lambda run, _: run.process.send_signal(signal.SIGUSR1))
        # mpirun waits as long before SIGTERM as between it and SIGKILL, ends with a code of its own
        # and may not pass on the last words.
        self.signalled("SIGTERM to the launcher",
                       lambda run, _: run.process.send_signal(signal.SIGTERM), codes=(1, 75),
                       message="saved ", launcher=("--mca", "odls_base_sigkill_timeout", "2"))
        self.signalled("SIGTERM to one rank", lambda _, pids: os.kill(pids[1], signal.SIGTERM))

    def failed(self, name, command, code, *messages):
        since = time.monotonic()
        run = Ranks(2, command)
        self.ended(name, run, {}, since, {code}, *messages)
        self.expect(run.text().count("\nssmax: ") + run.text().startswith("ssmax: ") == 1,
                    f"{name}: the message must come once", run)

    def one_sided(self):
        command = self.command(self.folder / "one_sided", "--training.steps=8")
        self.failed("another config on one rank", [command, [*command, "--optimizer.beta2=0.99"]], 2,
                    "optimizer.beta2 is 0.95 on rank 0", "0.99 on rank 1")
        limited = ["sh", "-c", 'ulimit -v 600000; exec "$@"', "sh"]
        big = [*command, "--model.hidden_size=1024", "--model.intermediate_size=4096",
               "--model.num_hidden_layers=4"]
        if not self.sanitized:
            self.failed("out of memory on one rank", [big, [*limited, *big]], 5, "out of memory",
                        "rank 1 on")
        self.failed("a loss that is not finite",
                    self.command(self.folder / "wild", "--optimizer.learning_rate=1e30",
                                 "--optimizer.clip_norm=0", "--spike_guard.max_skips=3",
                                 "--schedule.warmup_steps=0", "--checkpoint.every_steps=1"), 6,
                    "steps in a row were skipped")

    def tcp(self):
        """Without mpirun, as torchrun starts ranks."""
        overrides = ["--training.steps=8", "--parallel.shard_optimizer=true"]
        self.train(2, self.folder / "by_mpirun", *overrides)
        run = Ranks(2, self.command(self.folder / "by_tcp", *overrides), tcp=True)
        self.expect(run.wait() == 0, "two ranks over TCP failed", run)
        self.expect("2 ranks through TCP, started by torchrun" in run.text(), "no word of TCP", run)
        self.expect(self.losses(self.folder / "by_tcp") == self.losses(self.folder / "by_mpirun"),
                    "other losses over TCP than over MPI")
        run, out, pids = self.started("tcp_killed_rank", tcp=True)
        since = time.monotonic()
        os.kill(pids[1], signal.SIGKILL)
        self.ended("a rank is killed, over TCP", run, pids, since, {137}, "lost rank 1 on")

    def occupied(self):
        run, out, pids = self.started("occupied")
        self.failed("a second run in the folder", self.command(out), 2, "another run is at work")
        since = time.monotonic()
        os.kill(pids[0], signal.SIGTERM)
        self.ended("the first run", run, pids, since, {75})

    def failures_of_ranks(self):
        self.killed_rank()
        self.killed_launcher()
        self.stopped_rank()
        self.signals()
        self.one_sided()
        self.occupied()
        self.tcp()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--only", help="one method of this suite, such as resume or signals")
    parser.add_argument("--sanitized", action="store_true",
                        help="AddressSanitizer is in the program, which cannot start with little memory")
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    arguments = parser.parse_args()
    if shutil.which("mpirun") is None:
        print("skipped: no mpirun here; install openmpi-bin")
        return 77
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ssmax_ranks_"))
    suite = Suite(str(pathlib.Path(arguments.program).resolve()), folder, arguments.sanitized)
    for name in [arguments.only] if arguments.only else ["resume", "failures_of_ranks"]:
        getattr(suite, name)()
    if suite.failures or arguments.keep:
        print(f"left behind: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{len(suite.failures)} failures")
    return 1 if suite.failures else 0


if __name__ == "__main__":
    sys.exit(main())
