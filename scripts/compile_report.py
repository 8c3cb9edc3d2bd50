#!/usr/bin/env python3
"""Registers, shared memory and spills of every CUDA kernel, from the compiled objects.

    scripts/compile_report.py [--build build/cuda] [--out docs/results/cuda_compile.md]

Reads the object files of the target `cuda_backend` with cuobjdump; no GPU is needed. Two checks give
exit code 1: a kernel of attention, a norm or the cross-entropy that spills registers to memory, and
an attention kernel for bf16 without matrix instructions (HMMA or HGMMA).
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
MUST_NOT_SPILL = re.compile(r"attention|norm|cross_entropy|_pass_kernel|row_")
MATRIX_KERNEL = re.compile(r"_pass_kernel")
MATRIX_INSTRUCTION = re.compile(r"\b(HMMA|HGMMA)\b")


class Kernel:
    def __init__(self, source, architecture, name, registers, stack, shared, local):
        self.source, self.architecture, self.name = source, architecture, name
        self.registers, self.stack, self.shared, self.local = registers, stack, shared, local
        self.matrix_instructions = 0
        self.local_accesses = 0


def output_of(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True,
                          text=True).stdout


def demangled(names):
    names = list(names)
    if not names:
        return {}
    text = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True,
                          text=True).stdout
    return dict(zip(names, text.splitlines()))


def short(name):
    """The kernel's name and template arguments, without namespaces and parameters."""
    name = re.sub(r"^void ", "", name)
    name = re.sub(r"\(anonymous namespace\)::", "", name)
    depth = 0
    for place, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            name = name[:place]
            break
    for word in ("ssmax::kernels::cuda::", "ssmax::kernels::", "ssmax::normalizers::",
                 "ssmax::device::"):
        name = name.replace(word, "")
    return name


def read_resources(cuobjdump, path, source):
    kernels = {}
    architecture = name = None
    for line in output_of(cuobjdump, "-res-usage", path).splitlines():
        found = re.search(r"arch = (sm_\w+)", line)
        if found:
            architecture = found.group(1)
        found = re.match(r"\s*Function (\S+):", line)
        if found:
            name = found.group(1)
        found = RESOURCES.search(line)
        if found and name:
            numbers = [int(number) for number in found.groups()]
            kernels[architecture, name] = Kernel(source, architecture, name, *numbers)
    return kernels


def count_instructions(cuobjdump, path, kernels):
    architecture = kernel = None
    process = subprocess.Popen([cuobjdump, "-sass", str(path)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        found = re.search(r"arch = (sm_\w+)", line)
        if found:
            architecture = found.group(1)
        found = re.match(r"\s*Function : (\S+)", line)
        if found:
            kernel = kernels.get((architecture, found.group(1)))
        elif kernel is not None:
            kernel.matrix_instructions += bool(MATRIX_INSTRUCTION.search(line))
            kernel.local_accesses += bool(re.search(r"\b(STL|LDL)\b", line))
    if process.wait() != 0:
        sys.exit(f"compile_report.py: cuobjdump -sass {path} failed")


def problems_of(kernels):
    problems = []
    for kernel in kernels:
        place = f"{kernel.source}, {kernel.architecture}: {kernel.short}"
        if MUST_NOT_SPILL.search(kernel.short) and kernel.local_accesses > 0:
            problems.append(f"{place} spills: {kernel.local_accesses} accesses to local memory")
        if MATRIX_KERNEL.search(kernel.short) and kernel.matrix_instructions == 0:
            problems.append(f"{place} has no matrix instructions")
    return problems


def table(kernels):
    lines = ["| kernel | registers | shared, bytes | stack, bytes | local accesses | matrix "
             "instructions |", "|---|---|---|---|---|---|"]
    for k in kernels:
        lines.append(f"| `{k.short}` | {k.registers} | {k.shared} | {k.stack} | "
                     f"{k.local_accesses} | {k.matrix_instructions} |")
    return lines


def report(kernels, problems, version):
    lines = ["# What the compiler made of the CUDA kernels", "",
             "```", "cmake --preset cuda && cmake --build --preset cuda --target cuda_backend",
             "scripts/compile_report.py", "```", "",
             f"{version}. Shared memory is the static part; what a launch asks for comes on top. "
             "Local accesses are instructions that read or write registers spilled to memory or "
             "arrays without a fixed index.", ""]
    lines += ["Checks: " + ("none of the kernels of attention, norms and cross-entropy spills, and "
                            "every fused attention kernel uses the matrix units."
                            if not problems else f"{len(problems)} kernels fall short:"), ""]
    lines += [f"* {problem}" for problem in problems] + ([""] if problems else [])
    by_architecture = collections.defaultdict(list)
    for kernel in kernels:
        by_architecture[kernel.architecture].append(kernel)
    for architecture, group in sorted(by_architecture.items()):
        most = max(kernel.registers for kernel in group)
        lines += [f"## {architecture}", "", f"{len(group)} kernels, at most {most} registers.", ""]
        by_source = collections.defaultdict(list)
        for kernel in group:
            by_source[kernel.source].append(kernel)
        for source, some in sorted(by_source.items()):
            lines += [f"### {source}", ""] + table(sorted(some, key=lambda k: k.short)) + [""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cuda")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/results/cuda_compile.md")
    arguments = parser.parse_args()
    cuobjdump = shutil.which("cuobjdump") or "/usr/local/cuda/bin/cuobjdump"
    objects = arguments.build / "CMakeFiles/cuda_backend.dir/src"
    paths = sorted(objects.rglob("*.cu.o"))
    if not paths:
        sys.exit(f"compile_report.py: no *.cu.o below {objects}; build the target cuda_backend of "
                 "the preset cuda first")
    kernels = []
    for place, path in enumerate(paths, 1):
        source = str(path.relative_to(objects)).removesuffix(".o")
        print(f"\r[{place}/{len(paths)}] {source:60}", end="", file=sys.stderr, flush=True)
        found = read_resources(cuobjdump, path, source)
        count_instructions(cuobjdump, path, found)
        kernels += found.values()
    print(file=sys.stderr)
    names = demangled({kernel.name for kernel in kernels})
    for kernel in kernels:
        kernel.short = short(names[kernel.name])
    problems = problems_of(kernels)
    version = output_of(cuobjdump, "--version").strip().splitlines()[-1]
    arguments.out.write_text(report(kernels, problems, version), encoding="utf-8")
    for problem in problems:
        print(problem)
    print(f"{len(kernels)} kernels in {arguments.out}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
