#!/usr/bin/env python3
"""What people do wrong: the exit code, and the words that say what was expected and found.

    tests/faults/wrong_input_test.py PROGRAM

Mistakes that would cost somebody a trained model or hours of work are told at once, and change no
file. Needs the Python standard library only.
"""

import json
import pathlib
import resource
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
import program_test  # noqa: E402
from token_shard import write_shard  # noqa: E402

CONFIG = {
    "name": "small",
    "model": {"vocab_size": 320, "num_hidden_layers": 1, "num_attention_heads": 2,
              "hidden_size": 16, "intermediate_size": 32, "position": {"kind": "learned"}},
    "data": {"train": ["data/train_*.bin"], "validation": ["data/val_*.bin"],
             "sequence_length": 16},
    "training": {"steps": 2, "batch_sequences": 2, "threads": 1},
    "validation": {"batches": 1},
}

USAGE, DATA, CHECKPOINT, NUMERICS, DISK = 2, 3, 4, 6, 8

# Arguments, exit code, words of the message.
CASES = [
    # Numbers and names of the command line
    ("generate run --tokens -1", USAGE, ["--tokens: must be above 0, found -1"]),
    ("generate run --top-k -1", USAGE, ["--top-k: must be at least 0, found -1"]),
    ("generate run --seed -1", USAGE, ["--seed: must be at least 0, found -1"]),
    ("evaluate run loss --sequences 1000", DATA, ["needed are 1000 sequences of 16 + 1 tokens"]),
    ("evaluate run fading --sequences 1000 --sequence-length 100", DATA,
     ["needed are 1000 sequences of 100 + 1 tokens"]),
    ("evaluate run logits --data data/val_000000.bin --sequences 1000 --sequence-length 16"
     " --out logits.safetensors", DATA, ["needed are 1000 sequences"]),
    ("evaluate run needle --haystack text --contexts 300 --depths 0,nan", USAGE,
     ["--depths: must be 0 to 1, found nan"]),
    ("evaluate run attention --haystack text --contexts 300 --depth nan", USAGE,
     ["--depth: must be 0 to 1, found nan"]),
    ("generate run --top-p nan", USAGE, ["--top-p: must be 0 to 1, found nan"]),
    ("generate run --tokens 99999999999999999999", USAGE, ["--tokens: is too large"]),
    ("export run --out hf --temperature nan", USAGE, ["must be 1 to 1000000000, found nan"]),
    ("prepare text --out new --threads 5000", USAGE, ["--threads: must be 0 to 4096, found 5000"]),
    ("train small.json --out new --training.threads=1000000", USAGE,
     ["training.threads", "must be at most 4096"]),
    ("train small.json --out new --model.num_hidden_layers=9223372036854775807", USAGE,
     ["model.num_hidden_layers", "must be at most 10000"]),
    ("train small.json --out new --training.batch_sequences=9223372036854775807"
     " --training.micro_batch_sequences=9223372036854775807", USAGE, ["does not fit 64 bits"]),
    ("bench swiglu --seconds 0", USAGE, ["--seconds: must be above 0, found 0"]),
    ("evaluate run needle --haystack text --contexts abc", USAGE, ["must be above 0, found abc"]),
    ("train small.json --training.steps 4", USAGE, ["here --training.steps=VALUE"]),
    ("train small.json --start.continue_run=true", USAGE, ["start.continue_run",
                                                          "needs start.checkpoint"]),
    ('train small.json --start.checkpoint=run --start.allow_change=["model.normaliser"]', USAGE,
     ["start.allow_change", "did you mean \"model.normalizer\""]),
    # Data
    ("train small.json --out new --data.train=[none.bin]", USAGE, ["data.train", "single quotes"]),
    ("train small.json --out new --data.train=none.bin", DATA,
     ["data.train", "ssmax prepare", "none.bin"]),
    ("train small.json --out new --data.validation=none.bin", DATA,
     ["data.validation, which may be empty", "none.bin"]),
    ("train small.json --out new --data.train=data", DATA, ["data.train", "data is a folder"]),
    ("train small.json --out new --model.vocab_size=200", DATA,
     ["vocabulary of 257 tokens", "the model has 200", "model.vocab_size"]),
    ("prepare text --validation text/a.txt --out fresh", DATA, ["text/a.txt", "name it once"]),
    ("prepare keys.jsonl --out fresh", DATA,
     ['keys.jsonl:1: expected an object with the string "text", found one with "txt", "id"']),
    ("prepare text/a.txt --out text/a.txt/data", DISK, ["Not a directory"]),
    # Models that are there already
    ("swap run --out run --model.normalizer.kind=ssmax", USAGE,
     ["run holds checkpoints already (step_00000002)"]),
    ("import exported --out run", USAGE, ["run holds checkpoints already"]),
    ("import run --out new", USAGE, ["run is a run of this program"]),
    ("train small.json --out new --data.kind=supervised --data.tokenizer=bytes"
     " --data.train=keys.jsonl", DATA,
     ["data.train, JSON Lines of prompts and completions: keys.jsonl:1",
      'expected an object with the string "completion", found one with "txt", "id"']),
    ("train small.json --out exported", USAGE, ["exported/config.json is no config of a run"]),
    ("swap run --out exported", USAGE, ["exported/config.json is no config of a run"]),
    ("prepare-needle text/a.txt --out text/a.txt", USAGE, ["text/a.txt exists"]),
    ("train small.json --out run --model.normalizer.kind=ssmax"
     ' --start.allow_change=["model.normalizer"] --start.checkpoint=run', CHECKPOINT,
     ["model.normalizer.kind", "use another run folder"]),
    ("train small.json --out new --start.checkpoint=run --model.normalizer.kind=ssmax", CHECKPOINT,
     ["model.normalizer.kind", "start.allow_change"]),
    ("evaluate run loss --model.normalizer.kind=ssmax", CHECKPOINT, ["ssmax swap"]),
    ("generate data", CHECKPOINT, ["expected the manifest of a checkpoint", "token shards"]),
    ("evaluate exported loss", CHECKPOINT, ["Hugging Face folder", "ssmax import"]),
    # Results
    ("evaluate run run loss --json {name}_loss.json", USAGE,
     ["small_loss.json", "name each checkpoint once"]),
    ("evaluate run loss --json {name}.json", USAGE, ["small.json", "no result of evaluate"]),
    ("evaluate run loss --json text/a.txt", USAGE, ["text/a.txt", "no result of evaluate"]),
    ("evaluate loss", USAGE, ["found 'loss' and no checkpoint in front of it"]),
    ("evaluate run loss --data large.bin --tokenizer bytes", DATA, ["token id 300", "257 ids"]),
    ("evaluate run loss --json text/a.txt/x.json", DISK, ["text/a.txt", "Not a directory"]),
    ("bench swiglu --json text/a.txt/x.json", DISK, ["text/a.txt", "Not a directory"]),
    # Longer than the positions that were learned
    ("evaluate run positions --sequence-length 32", USAGE, ["learned positions for 16 tokens"]),
    ("generate run --tokenizer bytes --tokens 40", USAGE,
     ["learned positions for 16 tokens", "41 are asked for"]),
]


class Test(program_test.ProgramTest):
    def expect_refusal(self, what, result, code, words):
        self.expect(result.returncode == code,
                    f"{what}: exit code {result.returncode}, expected {code}\n{result.stderr}")
        for word in words:
            self.expect(word in result.stderr, f"{what}: expected `{word}` in\n{result.stderr}")
        self.expect(not result.stdout, f"{what}: something was printed before\n{result.stdout}")

    def files(self):
        """Of the run, without what says that somebody was here."""
        return {path: path.read_bytes() for path in (self.folder / "run").rglob("*")
                if path.is_file() and path.name not in ("run.lock", "log.txt")}

    @staticmethod
    def limit_file_size():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    def all(self):
        (self.folder / "text").mkdir()
        for name in "abcdefghij":
            (self.folder / "text" / f"{name}.txt").write_text(f"A text named {name}. " * 40)
        (self.folder / "small.json").write_text(json.dumps(CONFIG))
        self.make("prepare", "text", "--validation-fraction", "0.3", "--out", "data")
        self.make("train", "small.json", "--out", "run")
        self.make("export", "run", "--out", "exported")
        write_shard(self.folder / "large.bin", [300] * 40)
        (self.folder / "keys.jsonl").write_text('{"txt": "a", "id": 1}\n')
        before = self.files()
        for command, code, words in CASES:
            self.expect_refusal(command, self.run(*command.split()), code, words)
            self.expect(not (self.folder / "new").exists(),
                        f"{command}: has left the folder of a run")
        self.expect(self.files() == before, "the files of the run have changed")

        with open("/dev/full", "w", encoding="ascii") as full:
            self.expect_refusal("config --schema > /dev/full",
                                self.run("config", "--schema", stdout=full), DISK,
                                ["standard output"])
        self.expect_refusal(
            "prepare with ulimit -f",
            self.run("prepare", "text", "--out", "much", preexec_fn=self.limit_file_size), DISK,
            ["much", "File too large"])
        self.expect(not (self.folder / "much.partial").exists(),
                    "a prepare that failed has left much.partial")
        self.expect_refusal(
            "train with ulimit -f",
            self.run("train", "small.json", "--out", "large", preexec_fn=self.limit_file_size),
            DISK, ["without its last checkpoint", "File too large"])
        self.spoilt()
        self.overlapping()
        self.starts_that_fail()

    def overlapping(self):
        result = self.run("train", "small.json", "--out", "overlapping", "--data.train=data/*.bin")
        words = "data/val_000000.bin is in data.train too"
        if result.returncode != 0 or words not in result.stderr:
            self.failures.append(f"train on data/*.bin: expected `{words}` in\n{result.stderr}")

    def spoilt(self):
        """What ended a run stands in its log too."""
        result = self.run("train", "small.json", "--out", "spoilt", "--optimizer.learning_rate=1e30",
                          "--training.steps=100")
        self.expect_refusal("train at 1e30", result, NUMERICS, ["lower optimizer.learning_rate"])
        log = (self.folder / "spoilt" / "log.txt").read_text(encoding="utf-8")
        self.expect("lower optimizer.learning_rate" in log,
                    f"spoilt/log.txt does not say why the run ended\n{log}")

    def starts_that_fail(self):
        """They leave every folder as it was."""
        (self.folder / "empty").mkdir()
        (self.folder / "mine").mkdir()
        for name in ("notes.txt", "log.txt", "run.lock"):
            (self.folder / "mine" / name).write_text("mine\n")
        for out in ("empty", "empty/deep/er", "mine", "mine/deep", "run"):
            self.expect_refusal(
                f"train --out {out}",
                self.run("train", "small.json", "--out", out, "--data.train=none.bin"), DATA,
                ["none.bin"])
        left = {str(path.relative_to(self.folder)) for name in ("empty", "mine")
                for path in (self.folder / name).rglob("*")}
        self.expect(left == {"mine/notes.txt", "mine/log.txt", "mine/run.lock"},
                    f"starts that failed have left {sorted(left)}")
        for name in ("notes.txt", "log.txt"):
            self.expect((self.folder / "mine" / name).read_text().startswith("mine\n"),
                        f"a start that failed has changed mine/{name}")
        self.make("train", "small.json", "--out", "run")  # is there, and has nothing left to do


if __name__ == "__main__":
    program_test.main(Test)
