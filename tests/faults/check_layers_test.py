#!/usr/bin/env python3
"""Puts one fault after the other into a small tree and asks check_layers.py for each.

    tests/faults/check_layers_test.py     (Python standard library only)
"""

import pathlib
import subprocess
import sys
import tempfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check_layers.py"

SOUND = {
    "base/errors.h": "#pragma once\n",
    "device/stream.h": '#pragma once\n#include "base/errors.h"\n#ifdef __AVX512F__\n#endif\n',
    "kernels/op.h": '#pragma once\n#include "device/stream.h"\n',
    "kernels/rope/rope.h": '#pragma once\n#include "kernels/op.h"\n',
    "kernels/rope/rope.cpp": '#include "kernels/rope/rope.h"\n// #include "app/main.h" <<<\n',
    "normalizers/ssmax/ssmax.cpp": '#include "kernels/op.h"\nconst char* s = "<<<";\n',
    "train/trainer.cpp": '#include <vector>\n#include "normalizers/registry.h"\n',
}

# name of the fault: (file, text, what the message must hold)
FAULTS = {
    "up": ("base/errors.h", '#pragma once\n#include "device/stream.h"\n', "is above"),
    "far up": ("kernels/op.h", '#pragma once\n#include "train/trainer.h"\n', "is above"),
    "neighbour room": ("device/stream.h", '#pragma once\n#include "corpus/shard.h"\n',
                       "is a neighbour"),
    "neighbour op": ("kernels/rope/rope.cpp", '#include "kernels/linear/linear.h"\n',
                     "may not include its neighbour"),
    "attention's neighbour": ("kernels/attention/row.cpp", '#include "kernels/rope/rope.h"\n',
                              "may not include its neighbour"),
    "root of kernels": ("kernels/op.h", '#pragma once\n#include "kernels/rope/rope.h"\n',
                        "the root of `kernels`"),
    "neighbour normalizer": ("normalizers/sink/sink.cpp", '#include "normalizers/ssmax/ssmax.h"\n',
                             "may not include its neighbour"),
    "relative": ("train/trainer.cpp", '#include "trainer.h"\n', "write includes from src"),
    "dots": ("train/trainer.cpp", '#include "base/../app/x.h"\n', "write includes from src"),
    "unknown room": ("train/trainer.cpp", '#include "tools/x.h"\n', "there is no room"),
    "room without a floor": ("tools/x.cpp", "\n", "is not a room"),
    "beside the rooms": ("main.cpp", "\n", "live in a room"),
    "condition": ("model/model.cpp", "#if SSMAX_CUDA\n#endif\n", "conditional compilation"),
    "macro": ("model/model.cpp", "#define CHECK(x) x\n", "macro CHECK"),
    "launch": ("kernels/rope/rope.cu", "kernel<<<1, 2>>>();\n", "launched through device"),
    "device call": ("model/model.cpp", "cudaMalloc(&p, n);\n", "belongs to `device`"),
    "no pragma": ("model/model.h", "\n", "#pragma once"),
    "top level": ("../tools/x.py", "\n", "at the top lie only"),
}


def run(files):
    """(exit code, output) of the check on a tree with these files."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            path = root / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        result = subprocess.run([sys.executable, str(SCRIPT), "--root", folder],
                                capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr


def main():
    failures = []
    code, output = run(SOUND)
    if code != 0:
        failures.append(f"a sound tree was refused:\n{output}")
    for fault, (name, text, expected) in FAULTS.items():
        code, output = run({**SOUND, name: text})
        if code != 1 or expected not in output:
            failures.append(f"{fault}: exit code {code}, expected 1 and {expected!r} in:\n{output}")
    long_file = run({**SOUND, "model/model.cpp": "\n" * 601})
    if long_file[0] != 0 or "(warning)" not in long_file[1]:
        failures.append(f"a long file must give a warning and no error:\n{long_file[1]}")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(FAULTS) + 2} trees, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
