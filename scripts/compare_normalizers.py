#!/usr/bin/env python3
"""What a normalizer costs in a CPU training step, against Softmax: by time and by instructions.

    scripts/compare_normalizers.py PROGRAM [--dtypes bf16 f32] [--rounds 60] [--threads 2]
    scripts/compare_normalizers.py PROGRAM --instructions callgrind --layers 1 --tokens 256

Time: `ssmax bench step` trains one model of each normalizer in one process, a step of each in turn,
and gives the median of the CPU times against the first with its 95 % interval. Softmax stands there
twice: how far its second differs from its first is what the machine can resolve. Use --threads 1 on
a machine that others use, where waiting threads count as working.

Instructions: those of a step, as the difference of a run with more steps and one with fewer, by
`perf stat` where the machine counts them and by valgrind's callgrind elsewhere. callgrind knows no
AVX-512: give it a program configured with -DSSMAX_NATIVE=OFF -DCMAKE_CXX_FLAGS=-march=x86-64-v3,
and take --dtypes f32, since a processor without AVX-512 multiplies bf16 as f32. It is fifty times
slower than the program, hence the small shape; a step of that shape has a larger share of attention
in everything but the output layer, whose share is that of any batch.
"""

import argparse
import re
import subprocess
import sys
import tempfile

FEW, MANY = 1, 3  # rounds of the two runs whose difference is counted
ALLOWED = {"ssmax": 1.0, "self_adjust": 10.0}  # percent that is aimed for


def shape_of(options):
    return ["--tokens", str(options.tokens), "--sequence-length", str(options.length),
            "--layers", str(options.layers), "--hidden", str(options.width),
            "--intermediate", str(options.intermediate), "--heads", str(options.heads),
            "--vocab", str(options.vocabulary), "--threads", str(options.threads)]


def step_command(options, dtype, normalizers, rounds):
    return [options.program, "bench", "step", *shape_of(options), "--dtype", dtype,
            "--rounds", str(rounds), "--normalizers", *normalizers]


def compare_times(options, dtype):
    names = ["softmax", "softmax", *options.normalizers]
    text = subprocess.run(step_command(options, dtype, names, options.rounds), check=True, text=True,
                          capture_output=True).stdout
    print(text, end="")
    for name, percent in re.findall(r"^step (\w+) .* CPU +([-+0-9.]+) %", text, re.MULTILINE):
        if name in ALLOWED:
            print(f"  {name}: {percent} %, aim {ALLOWED[name]:.0f} %")


def count_by_perf(command):
    done = subprocess.run(["perf", "stat", "-x", ",", "-e", "instructions:u", *command],
                          text=True, capture_output=True)
    match = re.search(r"^(\d+),[^,]*,instructions", done.stderr, re.MULTILINE)
    if done.returncode != 0 or not match:
        sys.exit("compare_normalizers.py: `perf stat` cannot count instructions here; use "
                 f"--instructions callgrind\n{done.stderr[-500:]}")
    return int(match[1])


def count_by_callgrind(command):
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}",
                               *command], text=True, capture_output=True)
    match = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not match:
        sys.exit(f"compare_normalizers.py: callgrind failed:\n{done.stderr[-1500:]}")
    return int(match[1])


def compare_instructions(options, dtype):
    count = {"perf": count_by_perf, "callgrind": count_by_callgrind}[options.instructions]
    per_step = {}
    for name in ("softmax", *options.normalizers):
        few, many = (count(step_command(options, dtype, [name], rounds)) for rounds in (FEW, MANY))
        per_step[name] = (many - few) / (MANY - FEW)
        ratio = per_step[name] / per_step["softmax"] - 1
        print(f"{dtype} {name:<14} {per_step[name] / 1e9:9.4f} billion instructions a step "
              f"{ratio:+8.2%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "f32"], choices=("bf16", "f32"))
    parser.add_argument("--normalizers", nargs="+", default=["ssmax", "self_adjust"])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--instructions", choices=("perf", "callgrind"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--intermediate", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=50257)
    options = parser.parse_args()
    for dtype in options.dtypes:
        (compare_instructions if options.instructions else compare_times)(options, dtype)


if __name__ == "__main__":
    main()
