#!/usr/bin/env python3
"""Registers, shared memory and spills of every CUDA kernel, from the compiled objects.

    scripts/compile_report.py [--build build/cuda] [--out docs/results/cuda_compile.md]

Reads the object files of the targets `cuda_backend` and `cuda_nccl` with cuobjdump; no GPU is needed. Four things give
exit code 1: a kernel of attention, a norm or the cross-entropy that spills registers to memory, an
attention kernel for bf16 without matrix instructions (HMMA or HGMMA), one whose products of
warpgroups (HGMMA) the compiler has made to wait for each other, and a source without its object.

Blocks of a multiprocessor follow from registers, threads and shared memory, of the fused attention
passes with the tiles that a launch asks for. cuobjdump comes with the CUDA Toolkit, and with the
Python package nvidia-cuda-cuobjdump.
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGETS = ("cuda_backend", "cuda_nccl")
RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
MUST_NOT_SPILL = re.compile(r"attention|norm|cross_entropy|pass_kernel|row_|rows_|queries_")
MATRIX_KERNEL = re.compile(r"\bpass_kernel")
MATRIX_INSTRUCTION = re.compile(r"\b(HMMA|HGMMA)\b")


# Shared memory of a multiprocessor, of which every block takes 1 KiB more than it asks for.
SHARED_OF_MULTIPROCESSOR = {"sm_80": 164 << 10, "sm_90": 228 << 10, "sm_90a": 228 << 10}
ATTENTION = ROOT / "src/kernels/attention"
SUMMED_QUERIES = int(re.search(r"kSummedQueries = (\d+);",
                               (ATTENTION / "query_sums_cuda.cuh").read_text()).group(1))
# The fused passes: the shape's header, and elements of the tiles as shared_bytes() there has them; a
# few floats of each row come on top.
PASSES = {
    "ForwardShape": ("forward_pass_cuda.cuh", lambda s: (s["kQueries"] + 2 * s["kKeys"]) * s["kD"]),
    "QueryPassShape": ("query_pass_cuda.cuh",
                       lambda s: (2 * s["kQueries"] + 4 * s["kKeys"]) * s["kD"]),
    "WarpgroupForwardShape": ("warpgroup_forward_cuda.cuh",
                              lambda s: (s["kQueries"] + 4 * s["kKeys"]) * s["kD"]),
    "WarpgroupKeyShape": ("warpgroup_key_pass_cuda.cuh",
                          lambda s: (2 * s["kKeys"] + 4 * SUMMED_QUERIES) * s["kD"] +
                          2 * s["kKeys"] * SUMMED_QUERIES),
    "KeyPassShape": ("key_pass_cuda.cuh",
                     lambda s: (2 * s["kKeys"] + 4 * s["kQueries"]) * s["kD"] +
                     s["kBackwardForm"] * s["kKeys"] * SUMMED_QUERIES),
}


def shape_constants(name, head_size, second):
    """The constants of a shape of the fused passes, read from its header; what its second argument
    is depends on the shape."""
    text = (ATTENTION / PASSES[name][0]).read_text()
    body = re.search(r"struct %s \{(.*?)\n\};" % name, text, re.DOTALL).group(1)
    constants = {"kHeadSize": head_size, "kKeyTile": second, "kBackwardForm": second,
                 "kWarpSize": 32, "kWarpgroupSize": 128, "kSummedQueries": SUMMED_QUERIES}
    for found in re.finditer(r"static constexpr int (\w+) = ([^;]+);", body):
        expression = re.sub(r"(.+) \? (.+) : (.+)", r"(\2) if (\1) else (\3)", found.group(2))
        expression = expression.replace("device::", "").replace(" / ", " // ")
        constants[found.group(1)] = eval(expression, {}, constants)  # of our own sources
    return constants


def tile_bytes(kernel_name):
    """Dynamic shared memory of a fused pass, in bytes of its tiles; 0 of other kernels."""
    found = re.search(r"^pass_kernel<.*\b(%s)<(\d+)(?:, (?:\(BackwardForm\))?(\d+))?>" %
                      "|".join(PASSES), kernel_name)
    if not found:
        return 0
    constants = shape_constants(found.group(1), int(found.group(2)), int(found.group(3) or 0))
    return PASSES[found.group(1)][1](constants) * 2


class Kernel:
    def __init__(self, source, architecture, name, registers, stack, shared, local):
        self.source, self.architecture, self.name = source, architecture, name
        self.registers, self.stack, self.shared, self.local = registers, stack, shared, local
        self.matrix_instructions = 0
        self.waits_for_products = 0  # of warpgroups
        self.local_accesses = 0
        self.threads = 1024

    def blocks(self):
        """Of a multiprocessor: registers come in 256 for a warp, from a quarter of 65,536 each."""
        warps = (self.threads + 31) // 32
        of_warp = (32 * self.registers + 255) // 256 * 256
        by_registers = 16384 // of_warp * 4 // warps
        shared = self.shared + tile_bytes(self.short) + 1024
        by_shared = SHARED_OF_MULTIPROCESSOR.get(self.architecture, 100 << 10) // shared
        return min(by_registers, by_shared, 64 // warps, 32)


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


def read_threads(cuobjdump, path, kernels):
    """Threads of a block at most, where __launch_bounds__ says so."""
    architecture = kernel = None
    wanted = False
    process = subprocess.Popen([cuobjdump, "-elf", str(path)], stdout=subprocess.PIPE, text=True,
                               errors="replace")
    for line in process.stdout:
        if line.startswith("arch = "):
            architecture, kernel = line.split()[2], None
        elif line.startswith("."):
            found = re.match(r"\.nv\.info\.(\S+)", line)
            kernel = kernels.get((architecture, found.group(1))) if found else None
        elif "EIATTR_MAX_THREADS" in line:
            wanted = True
        elif wanted and "Value:" in line:
            wanted = False
            if kernel is not None:
                kernel.threads = int(line.split()[1], 16)
    if process.wait() != 0:
        sys.exit(f"compile_report.py: cuobjdump -elf {path} failed")


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
            kernel.waits_for_products += "WARPGROUP.DEPBAR" in line
            kernel.local_accesses += bool(re.search(r"\b(STL|LDL)\b", line))
    if process.wait() != 0:
        sys.exit(f"compile_report.py: cuobjdump -sass {path} failed")


def problems_of(kernels):
    problems = []
    for kernel in kernels:
        place = f"{kernel.source}, {kernel.architecture}: {kernel.short}"
        if MUST_NOT_SPILL.search(kernel.short) and kernel.local_accesses > 0:
            problems.append(f"{place} spills: {kernel.local_accesses} accesses to local memory")
        empty = "<Warpgroup" in kernel.short and kernel.architecture != "sm_90a"
        if MATRIX_KERNEL.search(kernel.short) and kernel.matrix_instructions == 0 and not empty:
            problems.append(f"{place} has no matrix instructions")
        # Groups have four products and more.
        if 2 * kernel.waits_for_products > max(kernel.matrix_instructions, 1):
            problems.append(f"{place}: its {kernel.matrix_instructions} products wait "
                            f"{kernel.waits_for_products} times")
    return problems


def table(kernels):
    lines = ["| kernel | registers | threads | blocks | shared, bytes | stack, bytes | local "
             "accesses | matrix instructions |", "|---|---|---|---|---|---|---|---|"]
    for k in kernels:
        lines.append(f"| `{k.short}` | {k.registers} | {k.threads} | {k.blocks()} | "
                     f"{k.shared + tile_bytes(k.short)} | {k.stack} | {k.local_accesses} | "
                     f"{k.matrix_instructions} |")
    return lines


def compiler_version(cuobjdump):
    """Of nvcc where it is there, else the toolkit that cuobjdump belongs to."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    tool, name = (nvcc, "nvcc") if pathlib.Path(nvcc).exists() else (cuobjdump, "cuobjdump")
    found = re.search(r"release .*", output_of(tool, "--version"))
    return f"{name}, {found.group(0)}" if found else name


def report(kernels, problems, version, missing):
    lines = ["# What the compiler made of the CUDA kernels", "",
             "```", "cmake --preset cuda && cmake --build --preset cuda",
             "scripts/compile_report.py", "```", "",
             f"{version}. Blocks are those that a multiprocessor holds at once by its 65,536 "
             "registers, 2,048 threads and shared memory (164 KiB for sm_80, 228 KiB for sm_90a); "
             "threads are the most that a launch may ask for. Shared memory is the static part, "
             "and of the fused attention passes the tiles that a launch asks for. Local accesses "
             "are instructions that read or write registers spilled to memory or arrays without a "
             "fixed index.", ""]
    lines += ["Checks: " + ("none of the kernels of attention, norms and cross-entropy spills, and "
                            "every fused attention kernel uses the matrix units."
                            if not problems else f"{len(problems)} kernels fall short:"), ""]
    lines += [f"* {problem}" for problem in problems] + ([""] if problems else [])
    if missing:
        lines += ["Not compiled when this was written: " + ", ".join(missing) + ".", ""]
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
    if not pathlib.Path(cuobjdump).exists():
        sys.exit("compile_report.py: cuobjdump is not there; put the CUDA Toolkit's bin into PATH, "
                 "or `pip install nvidia-cuda-cuobjdump`")
    folders = [arguments.build / f"CMakeFiles/{target}.dir/src" for target in TARGETS]
    sources = {path.relative_to(folder).as_posix().removesuffix(".o"): path
               for folder in folders for path in folder.rglob("*.cu.o")}
    if not sources:
        sys.exit(f"compile_report.py: no *.cu.o below {folders[0]}; build the preset cuda first")
    kernels = []
    for place, (source, path) in enumerate(sorted(sources.items()), 1):
        print(f"\r[{place}/{len(sources)}] {source:60}", end="", file=sys.stderr, flush=True)
        found = read_resources(cuobjdump, path, source)
        read_threads(cuobjdump, path, found)
        count_instructions(cuobjdump, path, found)
        kernels += found.values()
    print(file=sys.stderr)
    names = demangled({kernel.name for kernel in kernels})
    for kernel in kernels:
        kernel.short = short(names[kernel.name])
    problems = problems_of(kernels)
    missing = sorted(path.relative_to(ROOT / "src").as_posix()
                     for path in (ROOT / "src").rglob("*_cuda.cu"))
    missing = [source for source in missing if source not in sources]
    arguments.out.write_text(report(kernels, problems, compiler_version(cuobjdump), missing),
                             encoding="utf-8")
    for problem in problems:
        print(problem)
    for source in missing:
        print(f"{source} is not compiled: build the preset cuda")
    print(f"{len(kernels)} kernels in {arguments.out}")
    return 1 if problems or missing else 0


if __name__ == "__main__":
    sys.exit(main())
