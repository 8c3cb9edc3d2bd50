#!/usr/bin/env python3
"""`ssmax generate` says how far it is, and writes text with whatever the model came with.

    tests/app/generate_test.py PROGRAM

A long prompt, and text that goes to a file, take minutes here; the call is ended when its first line
of progress has come. Needs the Python standard library only.
"""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import program_test  # noqa: E402

CONFIG = {
    "name": "small",
    "model": {"vocab_size": 384, "num_hidden_layers": 2, "num_attention_heads": 2,
              "hidden_size": 64, "intermediate_size": 64},
    "data": {"train": ["data/train_*.bin"], "validation": [], "sequence_length": 16},
    "training": {"steps": 1, "batch_sequences": 2, "threads": 1},
}


class Test(program_test.ProgramTest):
    def writes(self, run, **options):
        """A text of a few hundred tokens, every third of which the tokenizer would not know."""
        result = self.run("generate", run, "--temperature", "9", text=False, **options)
        self.expect(result.returncode == 0 and len(result.stdout) > 1,
                    f"generate {run}: exit code {result.returncode}, {result.stdout!r}\n"
                    f"{result.stderr.decode()}")

    def shows_progress(self, label, *arguments):
        with subprocess.Popen([self.program, "generate", "run", *arguments], cwd=self.folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True) as process:
            line = process.stderr.readline()
            process.kill()
        self.expect(line.startswith(label) and line.endswith(" left\n") and "tokens/s" in line,
                    f"expected progress of {label}, found {line!r}")

    def all(self):
        (self.folder / "text.txt").write_text("To be read. " * 100)
        (self.folder / "small.json").write_text(json.dumps(CONFIG))
        self.make("prepare", "text.txt", "--out", "data")
        self.make("train", "small.json", "--out", "run")
        self.writes("run")
        # The run's folder alone is enough, wherever it went.
        (self.folder / "data").rename(self.folder / "data_elsewhere")
        self.writes("run")
        (self.folder / "data_elsewhere").rename(self.folder / "data")
        self.make("export", "run", "--out", "exported")
        self.make("import", "exported", "--out", "imported")
        self.writes("imported")  # by the tokenizer in the run's folder
        (self.folder / "examples.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 4)
        self.make("train", "small.json", "--out", "tuned", "--data.kind=supervised",
                  "--data.train=examples.jsonl", "--data.tokenizer=bytes", "--start.checkpoint=run")
        self.writes("tuned")
        (self.folder / "elsewhere").mkdir()
        self.writes("../tuned", cwd=self.folder / "elsewhere")
        self.make("export", "tuned", "--out", "exported_tuned")
        self.expect((self.folder / "exported_tuned" / "tokenizer.json").exists(),
                    "the export of a fine-tuned model has no tokenizer")
        self.shows_progress("reading the prompt", "--prompt", "To be read. " * 10000)
        self.shows_progress("generating", "--tokens", "200000", "--temperature", "0")


if __name__ == "__main__":
    program_test.main(Test)
