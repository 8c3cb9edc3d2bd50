#!/usr/bin/env python3
"""Import and export against tests/golden/hugging_face (made by scripts/make_golden_exports.py).

    tests/scripts/hugging_face_test.py PROGRAM

Every model there is imported and exported: the files must be those stored, byte for byte, and the
logits of the import those that transformers computed from the export. Then the import is inspected,
swapped, trained and sampled. Needs the Python standard library only.
"""

import argparse
import array
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
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


class Test:
    def __init__(self, program, folder):
        self.program, self.folder, self.failures = program, folder, []

    def run(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], capture_output=True,
                                text=True, cwd=self.folder, check=False)
        if result.returncode != 0:
            sys.exit(f"ssmax {' '.join(map(str, arguments))}: exit code {result.returncode}\n"
                     f"{result.stderr}")
        return result.stdout

    def expect(self, holds, message):
        if not holds:
            self.failures.append(message)

    def check_export(self, name, run):
        out = self.folder / f"export_{name}"
        self.run("export", run, "--out", out)
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
        shown = self.run("inspect", out)
        for words in (f"Hugging Face model, {config['architectures'][0]}\n",
                      f"ssmax import {out} --out", "/model.safetensors: safetensors, "):
            self.expect(words in shown, f"{name}: inspect of the export does not say `{words}`")
        self.expect(("trust_remote_code=True" in shown) == (out / "modeling_ssmax.py").exists(),
                    f"{name}: inspect is wrong about the code that comes with the export")

    def check_logits(self, name, run):
        stored = read_safetensors(GOLDEN / name / "logits.safetensors")
        tokens = stored["tokens"][1].tolist()
        write_shard(self.folder / "tokens.bin", tokens + [0])
        self.run("evaluate", run, "logits", "--data", "tokens.bin", "--sequence-length",
                 len(tokens), "--out", "logits.safetensors", "--training.precision=fp32")
        found = read_safetensors(self.folder / "logits.safetensors")["logits"]
        self.expect(found[0] == stored["logits"][0], f"{name}: logits of shape {found[0]}")
        worst = max(abs(a - b) for a, b in zip(found[1], stored["logits"][1]))
        self.expect(worst <= BOUND, f"{name}: logits differ by {worst}, bound {BOUND}")

    def check_use(self, name, run):
        """What is imported serves as a checkpoint of our own."""
        self.expect("valid" in self.run("inspect", run), f"{name}: inspect finds no valid checkpoint")
        swapped = self.folder / f"swapped_{name}"
        self.run("swap", run, "--out", swapped, "--model.normalizer.kind=self_adjust")
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
        self.run("train", "train.json", "--out", trained)
        self.run("evaluate", trained, "loss", "--data", "train.bin")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    arguments = parser.parse_args()
    names = sorted(path.name for path in GOLDEN.iterdir())
    if not names:
        sys.exit(f"{GOLDEN}: there is no golden model")
    with tempfile.TemporaryDirectory() as folder:
        test = Test(str(pathlib.Path(arguments.program).resolve()), pathlib.Path(folder))
        for name in names:
            run = test.folder / f"run_{name}"
            test.run("import", GOLDEN / name / "given", "--out", run)
            test.check_export(name, run)
            test.check_inspection(name)
            test.check_logits(name, run)
            test.check_use(name, run)
    for failure in test.failures:
        print(failure)
    print(f"hugging_face_test: {len(names)} models, {len(test.failures)} failures")
    return 1 if test.failures else 0


if __name__ == "__main__":
    sys.exit(main())
