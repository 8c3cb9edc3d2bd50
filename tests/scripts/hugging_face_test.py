#!/usr/bin/env python3
"""Import and export against tests/golden/hugging_face (made by scripts/make_golden_exports.py).

    tests/scripts/hugging_face_test.py PROGRAM

Every model there is imported and exported: the files must be those stored, byte for byte, and the
logits of the import those that transformers computed from the export. Then the import is inspected,
swapped, trained and sampled. Needs the Python standard library only.
"""

import array
import json
import pathlib
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
import program_test  # noqa: E402
from token_shard import write_shard  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "hugging_face"
MODELING = ROOT / "src" / "checkpoint" / "hugging_face" / "modeling_ssmax.py"
# Sums of a few hundred float32 products of order one in another order, twice through a block:
# relative 1e-5 of logits up to ten. SSMax as Ministral3 is 1e-6 off by its T.
BOUND = 2e-4


def read_safetensors(path):
    """Name to (shape, array) of the F32 and I32 tensors of a file."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, info in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in info["data_offsets"])
            values = array.array({"F32": "f", "I32": "i"}[info["dtype"]])
            values.frombytes(data[begin:end])
            tensors[name] = (info["shape"], values)
    return tensors


class Test(program_test.ProgramTest):
    def check_export(self, name, run):
        out = self.folder / f"export_{name}"
        self.make("export", run, "--out", out)
        stored = {path.name for path in (GOLDEN / name / "exported").iterdir()}
        found = {path.name for path in out.iterdir()}
        self.expect(found - stored <= {"modeling_ssmax.py"} and stored <= found,
                    f"{name}: exported {sorted(found)}, stored {sorted(stored)}")
        for file in stored & found:
            same = (out / file).read_bytes() == (GOLDEN / name / "exported" / file).read_bytes()
            self.expect(same, f"{name}: {file} differs from the stored one")
        if (out / "modeling_ssmax.py").exists():
            self.expect((out / "modeling_ssmax.py").read_bytes() == MODELING.read_bytes(),
                        f"{name}: modeling_ssmax.py is not that of the sources")

    def check_inspection(self, name):
        out = self.folder / f"export_{name}"
        config = json.loads((out / "config.json").read_text())
        shown = self.make("inspect", out)
        for words in (f"Hugging Face model, {config['architectures'][0]}\n",
                      f"ssmax import {out} --out", "/model.safetensors: safetensors, "):
            self.expect(words in shown, f"{name}: inspect of the export does not say `{words}`")
        self.expect(("trust_remote_code=True" in shown) == (out / "modeling_ssmax.py").exists(),
                    f"{name}: inspect is wrong about the code that comes with the export")

    def check_logits(self, name, run):
        stored = read_safetensors(GOLDEN / name / "logits.safetensors")
        tokens = stored["tokens"][1].tolist()
        write_shard(self.folder / "tokens.bin", tokens + [0])
        self.make("evaluate", run, "logits", "--data", "tokens.bin", "--sequence-length",
                 len(tokens), "--out", "logits.safetensors", "--training.precision=fp32")
        found = read_safetensors(self.folder / "logits.safetensors")["logits"]
        self.expect(found[0] == stored["logits"][0], f"{name}: logits of shape {found[0]}")
        worst = max(abs(a - b) for a, b in zip(found[1], stored["logits"][1]))
        self.expect(worst <= BOUND, f"{name}: logits differ by {worst}, bound {BOUND}")

    def check_use(self, name, run):
        """What is imported serves as a checkpoint of our own."""
        self.expect("valid" in self.make("inspect", run), f"{name}: inspect finds no valid checkpoint")
        swapped = self.folder / f"swapped_{name}"
        self.make("swap", run, "--out", swapped, "--model.normalizer.kind=self_adjust")
        named = json.loads((swapped / "config.json").read_text())["name"]
        self.expect(named == swapped.name, f"{name}: the swapped run is named {named}")
        write_shard(self.folder / "train.bin", [i * i % 61 for i in range(200)])
        config = {"extends": str(swapped / "config.json"), "name": "trained",
                  "start": {"checkpoint": str(swapped)}, "data": {
                      "train": [str(self.folder / "train.bin")], "sequence_length": 8},
                  "training": {"steps": 2, "batch_sequences": 2, "precision": "fp32"},
                  "validation": {"every_steps": 0}}
        (self.folder / "train.json").write_text(json.dumps(config))
        trained = self.folder / f"trained_{name}"
        self.make("train", "train.json", "--out", trained)
        self.make("evaluate", trained, "loss", "--data", "train.bin")

    def all(self):
        names = sorted(path.name for path in GOLDEN.iterdir())
        self.expect(names, f"{GOLDEN}: there is no golden model")
        for name in names:
            run = self.folder / f"run_{name}"
            self.make("import", GOLDEN / name / "given", "--out", run)
            self.check_export(name, run)
            self.check_inspection(name)
            self.check_logits(name, run)
            self.check_use(name, run)


if __name__ == "__main__":
    program_test.main(Test)
