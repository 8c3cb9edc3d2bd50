#!/usr/bin/env python3
"""Several checkpoints in one `ssmax evaluate`: each is read once, and all before the first result.

    tests/app/evaluate_test.py PROGRAM

Needs the Python standard library only, and /proc, where Linux counts what a process has read.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import program_test  # noqa: E402

CHECKPOINT = 4
CONFIG = {
    "name": "one",
    "model": {"vocab_size": 257, "num_hidden_layers": 1, "num_attention_heads": 2,
              "hidden_size": 64, "intermediate_size": 64},
    "data": {"train": ["data/train_*.bin"], "validation": [], "sequence_length": 16},
    "training": {"steps": 1, "batch_sequences": 2, "threads": 1},
}


class Test(program_test.ProgramTest):
    def bytes_read(self, *arguments):
        with subprocess.Popen([self.program, *arguments], stdout=subprocess.DEVNULL,
                              cwd=self.folder) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            counts = pathlib.Path(f"/proc/{process.pid}/io").read_text(encoding="ascii")
        if process.returncode != 0:
            sys.exit(f"ssmax {' '.join(arguments)}: exit code {process.returncode}")
        return int(dict(line.split(": ") for line in counts.splitlines())["rchar"])

    def all(self):
        (self.folder / "text.txt").write_text("To be read. " * 100)
        (self.folder / "one.json").write_text(json.dumps(CONFIG))
        self.make("prepare", "text.txt", "--out", "data")
        for name in ("one", "two"):
            self.make("train", "one.json", "--out", name, "--name=" + name)
        step = self.folder / "one" / "checkpoints" / "step_00000001"
        size = sum(file.stat().st_size for file in step.iterdir())
        data = ("--data", "data/train_*.bin")

        plain = self.bytes_read("evaluate", "one", "two", "loss", *data)
        named = self.bytes_read("evaluate", "one", "two", "loss", *data, "--json", "{name}_loss.json")
        self.expect(named - plain < size / 2,
                    f"--json reads {named - plain} bytes more of checkpoints of {size} bytes")
        once = self.bytes_read("train", "one.json", "--dry-run", "--start.checkpoint=one",
                               "--start.model=checkpoint")
        none = self.bytes_read("train", "one.json", "--dry-run")
        self.expect(once - none < size / 2,
                    f"the model of a checkpoint of {size} bytes takes {once - none} bytes to know")

        self.names(data)

        shutil.copytree(self.folder / "two", self.folder / "damaged")
        weights = self.folder / "damaged/checkpoints/step_00000001/model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        result = self.run("evaluate", "one", "damaged", "loss", *data)
        self.expect(result.returncode == CHECKPOINT and "model.safetensors" in result.stderr,
                    f"a damaged checkpoint: exit code {result.returncode}\n{result.stderr}")
        self.expect(result.stdout == "", f"a damaged checkpoint shows after\n{result.stdout}")


    def names(self, data):
        """Runs of one name, in folders of one name; and two checkpoints of a run."""
        for seed in ("1", "2"):
            self.make("train", "one.json", "--out", f"{seed}/b", "--training.steps=2",
                      "--checkpoint.every_steps=1", "--seed=" + seed)
        steps = tuple(f"1/b/checkpoints/step_0000000{step}" for step in (1, 2))
        for label, checkpoints, names in (
                ("same", ("1/b", "2/b", "two"), ("1_b", "2_b", "two")),
                ("steps", steps, ("b_step_00000001", "b_step_00000002")),
                ("mixed", (*steps, "2/b"),
                 ("1_b_step_00000001", "1_b_step_00000002", "2_b_step_00000002")),
                ("apart", ("1/b", "two"), ("one", "two"))):
            result = self.run("evaluate", *checkpoints, "loss", *data, "--json",
                              label + "/{name}.json")
            self.expect(result.returncode == 0, f"{label}: {result.stderr}")
            found = {file.stem: json.loads(file.read_text())["name"]
                     for file in (self.folder / label).glob("*.json")}
            self.expect(found == {name: name for name in names}, f"{label}: found {found}")
            for name in names:
                self.expect(f"{name}, " in result.stdout, f"{name} is not in\n{result.stdout}")


if __name__ == "__main__":
    program_test.main(Test)
