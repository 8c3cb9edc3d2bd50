#!/usr/bin/env python3
"""Predicts the time of a training step on many GPUs from stated kernel times and bandwidths.

    scripts/scaling_model.py [--layers 12 --width 768 ...] [--gpus 8,64]

A model, not a measurement. It follows the program: the gradients of the head, of each block, last
block first, and of the embeddings are summed as soon as their backward is done, on links that carry
one section at a time, while backward goes on; the sum is a reduce-scatter and an all-gather that
move 2 (R - 1) / R of a section's bytes through every GPU. With --sharded the all-gather is of
updated bf16 weights, after the optimizer, and hidden by nothing.

Within a machine the links are NVLink; between machines every GPU has a share of the machine's
network, and a sum over both is done in two levels: within machines, then between GPUs of the same
index. Every collective pays a latency that grows with the ranks. Compute is FLOP over the share of
the peak that one GPU reaches; forward is a third of it.
"""

import argparse
import math


def sections(options):
    """[(name, parameters, share of the FLOP of a token)] in the order of backward."""
    width, hidden = options.width, options.hidden
    block = 4 * width * width + (3 if options.mlp == "swiglu" else 2) * width * hidden + 2 * width
    attention = 2 * options.length * width  # scores and values of a token, half of them masked
    head = options.vocabulary * width
    return ([("head", head + width, head)] +
            [(f"block {i}", block, block + attention) for i in reversed(range(options.layers))] +
            [("embeddings", options.vocabulary * width, 0)])


def phase(bytes_, ranks, bandwidth, latency):
    """A reduce-scatter or an all-gather: each rank sends and receives (R - 1) / R of the bytes."""
    if ranks == 1:
        return 0.0
    return bytes_ * (ranks - 1) / ranks / bandwidth + latency * math.log2(ranks)


def scatter_seconds(bytes_, gpus, options):
    """A reduce-scatter, or an all-gather, of a section over all GPUs, in two levels."""
    local = min(gpus, options.gpus_per_node)
    nodes = gpus // local
    within = phase(bytes_, local, options.nvlink * 1e9, options.nvlink_latency * 1e-6)
    # After the first level each GPU has 1 / local of the section to exchange with its twins.
    network = options.network * 1e9 / 8 * options.network_share
    return within + phase(bytes_ / local, nodes, network, options.network_latency * 1e-6)


def step(gpus, options):
    """Seconds: compute, communication, exposed, whole step."""
    tokens = options.tokens / gpus
    rate = options.peak * 1e12 * options.utilization
    parts = sections(options)
    backward_of = [4 * flops * tokens / rate for _, _, flops in parts]
    forward = sum(2 * flops * tokens / rate for _, _, flops in parts)
    micro_batches = max(1, round(tokens / options.micro_tokens))
    # Only the last micro-batch's backward hides anything; those before it are as long.
    before = (forward + sum(backward_of)) * (micro_batches - 1) / micro_batches
    clock = before + forward / micro_batches
    link = clock
    communication = 0.0
    for (_, parameters, _), seconds in zip(parts, backward_of):
        clock += seconds / micro_batches
        passes = 1 if options.sharded else 2
        summed = passes * scatter_seconds(parameters * options.gradient_bytes, gpus, options)
        link = max(link, clock) + summed
        communication += summed
    exposed = max(0.0, link - clock)
    parameters = sum(count for _, count, _ in parts)
    # Weights, two moments and the gradient are read, the first three and the bf16 copy written.
    owned = parameters / gpus if options.sharded else parameters
    optimizer = owned * 30 / (options.memory_bandwidth * 1e9)
    if options.sharded:
        gathered = sum(scatter_seconds(count * 2, gpus, options) for _, count, _ in parts)
        communication += gathered
        exposed += gathered
    return clock, communication, exposed, clock + exposed + optimizer


def table(options):
    base = step(1, options)[3]
    lines = ["| GPUs | compute, ms | communication, ms | hidden | step, ms | tokens/s | efficiency |",
             "|---:|---:|---:|---:|---:|---:|---:|"]
    for gpus in options.gpus:
        compute, communication, exposed, whole = step(gpus, options)
        hidden = f"{100 * (1 - exposed / communication):.0f} %" if communication else "–"
        lines.append(f"| {gpus} | {1e3 * compute:.1f} | {1e3 * communication:.1f} | {hidden} | "
                     f"{1e3 * whole:.1f} | {options.tokens / whole / 1e6:.2f} M | "
                     f"{100 * base / (gpus * whole):.1f} % |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--layers", type=int, default=12)
    add("--width", type=int, default=768)
    add("--hidden", type=int, default=2048, help="width of the MLP")
    add("--mlp", default="swiglu", choices=("swiglu", "gelu"))
    add("--vocabulary", type=int, default=50257)
    add("--length", type=int, default=1024, help="tokens of a sequence")
    add("--tokens", type=int, default=2048 * 1024, help="tokens of a step, all GPUs together")
    add("--micro-tokens", type=int, default=32 * 1024, help="tokens of a micro-batch of one GPU")
    add("--peak", type=float, default=989, help="TFLOP/s of one GPU in dense bf16")
    add("--utilization", type=float, default=0.4, help="share of the peak that forward and backward reach")
    add("--memory-bandwidth", type=float, default=3350, help="GB/s of one GPU's memory")
    add("--nvlink", type=float, default=360,
        help="GB/s that a GPU sends, and receives, within a machine: 450 by the data sheet, 80 %% of it")
    add("--nvlink-latency", type=float, default=8, help="microseconds per doubling of the ranks")
    add("--network", type=float, default=400, help="Gb/s of the network for each GPU")
    add("--network-share", type=float, default=0.85, help="share of it that collectives reach")
    add("--network-latency", type=float, default=15, help="microseconds per doubling of the machines")
    add("--gpus-per-node", type=int, default=8)
    add("--gradient-bytes", type=int, default=4, choices=(2, 4), help="4 = fp32, 2 = bf16")
    add("--sharded", action="store_true", help="parallel.shard_optimizer")
    add("--gpus", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 64])
    options = parser.parse_args()
    for gpus in options.gpus:
        if gpus > options.gpus_per_node and gpus % options.gpus_per_node:
            parser.error(f"--gpus: {gpus} are not whole machines of {options.gpus_per_node}")
    print(table(options))


if __name__ == "__main__":
    main()
