#!/usr/bin/env python3
"""What the CUDA kernels ask of a GPU's memories, counted on the emulated device, and what that predicts.

    scripts/traffic_report.py [--program build/cpu/simt_traffic] [--out docs/results/cuda_traffic.md]

Needs a CPU build with tests, by g++; no GPU. Runs the program, about ten seconds, and writes one table
of kernels and one of a predicted training step.
"""

import argparse
import json
import pathlib
import textwrap

from compile_report import ROOT, demangled, output_of, short

C, V, TOKENS, LAYERS, LENGTH = 768, 50257, 65536, 12, 1024
BANDWIDTHS = (4.0e12, 3.0e12)  # H200, H100
PRODUCTS = 600e12
ATTENTION = 200e12
COUNTED_ROWS, COUNTED_VOCABULARY, COUNTED_PARAMETERS = 256, 2003, 196608

# Calls of each op in a step, times the width there over the width counted.
ONCE = {"embedding": 1, "embedding backward": 1, "cross_entropy with gradient": 1,
        "norm_squared": 1, "adamw with bf16 copy": 1}
MODELS = {
    "12 layers, 768, SwiGLU 2048, RMSNorm, RoPE": {
        "parameters": LAYERS * (4 * C * C + 3 * C * 2048) + 2 * V * C,
        "ops": ONCE | {"rms_norm": 1, "rms_norm add": 24, "rms_norm backward add": 25,
                       "rope of q and k": 24, "swiglu": 12, "swiglu backward": 12},
    },
    "GPT-2 124M": {
        "parameters": LAYERS * (4 * C * C + 2 * C * 3072) + (V + 1024) * C,
        "ops": ONCE | {"layer_norm": 1, "layer_norm add": 24, "layer_norm backward add": 25,
                       "linear bias gradient": 12 * (3 + 1 + 4 + 1) / 3},
        # cuBLASLt's GELU: one product stores what it is taken of, another reads that.
        "in products": {"gelu, within matrix products": LAYERS * 2 * 4 * C * TOKENS * 2},
    },
}

WIDTH = 118  # of a line of text
TEXT = """# What the CUDA kernels ask of the memories

**Counted on the emulated device, not measured**: no GPU has run this. `scripts/traffic_report.py`

tests/simt compiles the `.cu` files with the hooks of `g++ -fsanitize=thread`, so that every load and store is seen as
it stands in the source, and puts the accesses of 32 lanes together to those of their warp, the n-th of each lane by
the same instruction between two points where the warp meets. Ops run as `ssmax bench` calls them, in bf16: 256 rows
of 768, MLPs of 2,048, a vocabulary of 2,003; attention of two heads over 384 tokens.

| column | of all launches of a kernel in one call |
|---|---|
| moved | bytes loaded and stored, each once, without loads of what the launch itself has stored: what must pass between caches and memory |
| of the contract | moved by all kernels of the op, over the bytes of its tensors each once; below 1 where tokens repeat or the bench hands one tensor over twice |
| asked | bytes of the 32-byte sectors that all accesses touch, over moved: how often the caches serve the same again |
| loads, stores | coalescing: bytes that accesses ask for, over those of the sectors that they touch |
| banks | wavefronts of shared memory over those without bank conflicts: plain accesses / ldmatrix / targets of cp.async |
| wavefronts | of shared memory, all three, in thousands |
| mma | matrix instructions of a warp for one wavefront of ldmatrix |
| warp operations | mma, shuffles, exponentials of attention (of 32 lanes), barriers of blocks |

"""

LIMITS = """
What this does not tell: latency and occupancy, what hides behind what, caches that are too small, how L2 and DRAM
pages take an order of accesses, instructions beside those named, and registers ([cuda_compile.md](cuda_compile.md)
has those). nvcc may join neighboring accesses of 4 bytes, or keep in registers what g++ -O1 reads twice: plain
accesses are an upper bound. Matrix products of cuBLASLt are not ours and not counted. Passes for accesses of 8 and 16
bytes go by half and quarter warps; the hardware merges some broadcasts across these.
"""


def symbols_of(program):
    names = {}
    for line in output_of("nm", program).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tTwW":
            names[int(words[0], 16)] = words[2]
    return names


def ratio(a, b):
    return f"{a / b:.2f}" if b else "–"


def counts(number):
    return f"{number / 1000:.1f}" if number else "–"


def moved_by(kernel):
    return kernel["loads"]["distinct"] + kernel["stores"]["distinct"]


def kernel_table(ops, names):
    lines = ["| op | kernel | moved, KB | of the contract | asked | loads | stores | banks | wavefronts "
             "| mma | warp operations, thousands |", "|---|---|---:|---:|---:|---:|---:|---|---:|---:|---|"]
    for op in ops:
        moved = sum(moved_by(kernel) for kernel in op["kernels"])
        title = f"{op['op']}, {op['shape']}"
        contract = ratio(moved, op["bytes"])
        for kernel in op["kernels"]:
            loads, stores = kernel["loads"], kernel["stores"]
            shared = [kernel["plain"], kernel["matrices"], kernel["copies"]]
            operations = kernel["operations"]
            mma = operations.get("mma", 0)
            shuffles = sum(n for name, n in operations.items() if "shfl" in name)
            counted = " / ".join(counts(n) for n in (mma, shuffles, kernel["exponentials"] / 32,
                                                    operations.get("__syncthreads", 0)))
            banks = " / ".join(ratio(s["wavefronts"], s["ideal"]) for s in shared)
            times = f" × {kernel['launches']}" if kernel["launches"] > 1 else ""
            lines.append(
                f"| {title} | `{names[kernel['address']]}`{times} | {moved_by(kernel) / 1000:.1f} | {contract} | "
                f"{ratio(32 * (loads['sectors'] + stores['sectors']), moved_by(kernel))} | "
                f"{ratio(loads['bytes'], 32 * loads['sectors'])} | "
                f"{ratio(stores['bytes'], 32 * stores['sectors'])} | {banks} | "
                f"{counts(sum(s['wavefronts'] for s in shared))} | "
                f"{ratio(mma, kernel['matrices']['wavefronts'])} | {counted} |")
            title = contract = ""
    return lines


def step_bytes(op, calls, parameters):
    """Bytes of a whole step, from those of one counted call."""
    if op["op"] in ("norm_squared", "adamw with bf16 copy"):
        return op["bytes"] / COUNTED_PARAMETERS * parameters
    rows = calls * op["bytes"] / COUNTED_ROWS * TOKENS
    return rows / COUNTED_VOCABULARY * V if op["op"].startswith("cross_entropy") else rows


def prediction(ops):
    by_name = {op["op"]: op for op in ops}
    lines = []
    for model, plan in MODELS.items():
        rows = [(name, step_bytes(by_name[name], count, plan["parameters"]))
                for name, count in plan["ops"].items()]
        rows += plan.get("in products", {}).items()
        rows.sort(key=lambda row: -row[1])
        total = sum(number for _, number in rows)
        # The embedding is looked up; tied, it is the output layer's.
        looked_up = V if "SwiGLU" in model else LENGTH
        products = 6 * (plan["parameters"] - looked_up * C) * TOKENS
        attention = 3.5 * 2 * LENGTH * C * LAYERS * TOKENS
        beside = products / PRODUCTS + attention / ATTENTION
        lines += ["", f"### {model}", "", "| op | GB a step | ms at 4.0 TB/s | ms at 3.0 TB/s |",
                  "|---|---:|---:|---:|"]
        for name, number in rows + [("**all of these**", total)]:
            times = " | ".join(f"{1e3 * number / bandwidth:.2f}" for bandwidth in BANDWIDTHS)
            lines.append(f"| {name} | {number / 1e9:.2f} | {times} |")
        h200, h100 = (100 * total / b / (total / b + beside) for b in BANDWIDTHS)
        beside_text = (
            f"Beside them: matrix products, {products / 1e12:.1f} TFLOP, {1e3 * products / PRODUCTS:.0f} ms at 600 "
            f"TFLOP/s; attention, {attention / 1e12:.1f} TFLOP without what it computes again, "
            f"{1e3 * attention / ATTENTION:.0f} ms at 200 TFLOP/s. The kernels above are {h200:.0f} % of the "
            f"predicted step on an H200 (4.0 TB/s) and {h100:.0f} % on an H100 (3.0 TB/s).")
        lines += ["", textwrap.fill(beside_text, WIDTH)]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/cpu/simt_traffic")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/results/cuda_traffic.md")
    arguments = parser.parse_args()
    ops = [json.loads(line) for line in output_of(arguments.program).splitlines()]
    symbols = symbols_of(arguments.program)
    addresses = {kernel["address"] for op in ops for kernel in op["kernels"]}
    long_names = demangled(symbols[address] for address in addresses)
    names = {address: short(long_names[symbols[address]]) for address in addresses}
    step = (f"{TOKENS:,} tokens in sequences of {LENGTH:,}: each op at the bytes of its tensors, which the counts "
            "confirm, and at the bandwidth that such kernels reach at best.")
    text = "\n".join([TEXT.rstrip(), "", *kernel_table(ops, names), LIMITS.rstrip(), "", "## A step, predicted",
                      "", textwrap.fill(step, WIDTH), *prediction(ops), ""])
    if arguments.out.exists():  # what people wrote stays
        text += "".join(arguments.out.read_text().partition("\n## Findings")[1:])
    arguments.out.write_text(text)


if __name__ == "__main__":
    main()
