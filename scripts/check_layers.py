#!/usr/bin/env python3
"""Checks the order of the house: who may include whom, and what may lie where.

    scripts/check_layers.py [--root FOLDER] [--quiet]

Every folder of src is a room on a floor. A file includes its own room and lower floors; never a
neighbour on the same floor, never up. Within `kernels` and `normalizers` every folder is a room of
its own that may use the files at the room's root. Prints `file:line: what is wrong`, exit code 1
when anything is; warnings alone leave it 0. Needs the Python standard library only.
"""

import argparse
import pathlib
import re
import subprocess
import sys

FLOORS = {
    "base": 0,
    "device": 1, "corpus": 1,
    "kernels": 2, "comm": 2, "params": 2,
    "normalizers": 3, "optim": 3, "checkpoint": 3,
    "model": 4,
    "evaluation": 5,
    "train": 6,
    "app": 7,
}
# Rooms whose folders are rooms: each sees the files at the root, none sees another.
NESTED = {"kernels", "normalizers"}

TOP_LEVEL = {"src", "configs", "data", "scripts", "tests", "docs", "CMakeLists.txt", "README.md",
             "LICENSE", "CMakePresets.json"}

# Conditional compilation lives where the compiler or the processor is asked, nowhere else; only the
# version of a library may be asked where the library is used.
MAY_ASK_THE_COMPILER = {"base/host_device.h"}
MAY_ASK_THE_COMPILER_ROOMS = {"device"}
# Macros of our own, and the prefixes of names that a library wants defined before its header.
MACROS = {"HD", "CUDA_CHECK"}
LIBRARY_MACROS = ("PCRE2_", "XXH_")
# Calls that only `device` makes.
DEVICE_CALLS = re.compile(r"\b(cudaMalloc\w*|cudaFree\w*|cudaStreamCreate\w*|cudaMemcpyAsync)\s*\(")

MAX_LINES = 600
SOURCE = {".h", ".cpp", ".cu", ".cuh"}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef)\b(?!\s+[A-Z0-9]+_VERSION_MAJOR\b)")
DEFINE = re.compile(r"^\s*#\s*define\s+(\w+)")


def room_of(path):
    """(room, folder within it or '') of a path written from src, such as kernels/rope/rope.h."""
    parts = path.split("/")
    room = parts[0]
    inner = parts[1] if room in NESTED and len(parts) > 2 else ""
    return room, inner


def include_problem(source, target):
    """Why `source` may not include `target`, or None. Both are written from src."""
    room, inner = room_of(source)
    to_room, to_inner = room_of(target)
    if "/" not in target or ".." in target.split("/"):
        return f'"{target}": write includes from src, as "room/file.h"'
    if to_room not in FLOORS:
        return f'"{target}": there is no room `{to_room}`'
    if to_room == room:
        if to_inner and to_inner != inner:
            where = f"`{room}/{inner}`" if inner else f"the root of `{room}`"
            return f'"{target}": {where} may not include its neighbour `{room}/{to_inner}`'
        return None
    if FLOORS[to_room] == FLOORS[room]:
        return f'"{target}": `{to_room}` is a neighbour of `{room}` on floor {FLOORS[room]}'
    if FLOORS[to_room] > FLOORS[room]:
        return (f'"{target}": `{to_room}` (floor {FLOORS[to_room]}) is above '
                f'`{room}` (floor {FLOORS[room]})')
    return None


def strip_comments(text):
    """The text with comments and string contents blanked, lines kept, includes left readable."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
                         r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.DOTALL)

    def blank(match):
        found = match.group(0)
        if found.startswith("/"):
            return "\n" * found.count("\n")
        line = text[text.rfind("\n", 0, match.start()) + 1:match.start()]
        if line.lstrip().startswith("#"):
            return found
        return '""' + "\n" * found.count("\n")

    return pattern.sub(blank, text)


class Report:
    def __init__(self):
        self.errors = []
        self.warnings = []


def check_source(root, path, report):
    name = path.relative_to(root / "src").as_posix()
    where = path.relative_to(root).as_posix()
    raw = path.read_text(encoding="utf-8")
    code = strip_comments(raw)
    room, _ = room_of(name)
    if "/" not in name:
        report.errors.append(f"{where}:1: sources live in a room, not beside the rooms")
        return
    if room not in FLOORS:
        report.errors.append(f"{where}:1: `{room}` is not a room; FLOORS in "
                             "scripts/check_layers.py lists them")
        return
    if path.suffix == ".h" and "#pragma once" not in raw:
        report.errors.append(f"{where}:1: a header starts with #pragma once")
    may_ask = name in MAY_ASK_THE_COMPILER or room in MAY_ASK_THE_COMPILER_ROOMS
    for number, line in enumerate(code.split("\n"), 1):
        place = f"{where}:{number}"
        include = INCLUDE.match(line)
        if include:
            problem = include_problem(name, include.group(1))
            if problem:
                report.errors.append(f"{place}: {problem}")
        if CONDITION.match(line) and not may_ask:
            report.errors.append(f"{place}: conditional compilation belongs to `device` and "
                                 "base/host_device.h")
        define = DEFINE.match(line)
        if define and define.group(1) not in MACROS:
            if not define.group(1).startswith(LIBRARY_MACROS):
                report.errors.append(f"{place}: macro {define.group(1)}: only HD and CUDA_CHECK")
        if "<<<" in line:
            report.errors.append(f"{place}: kernels are launched through device, never with <<<")
        call = DEVICE_CALLS.search(line)
        if call and room != "device":
            report.errors.append(f"{place}: {call.group(1)} belongs to `device`")
    lines = raw.count("\n")
    if lines > MAX_LINES:
        report.warnings.append(f"{where}:{lines}: {lines} lines; {MAX_LINES} are the limit")


def top_level_entries(root):
    """First parts of everything git tracks or would track; without git, the folder's list."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard",
             "-z"], capture_output=True, check=True).stdout.decode()
        return {name.split("/")[0] for name in listed.split("\0") if name}
    except (OSError, subprocess.CalledProcessError):
        return {entry.name for entry in root.iterdir() if not entry.name.startswith("build")}


def check(root):
    report = Report()
    for entry in sorted(top_level_entries(root)):
        if entry not in TOP_LEVEL and not entry.startswith("."):
            allowed = ", ".join(sorted(TOP_LEVEL))
            report.errors.append(f"{entry}: at the top lie only {allowed} and dot files")
    for path in sorted((root / "src").rglob("*")):
        if path.suffix in SOURCE:
            check_source(root, path, report)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--quiet", action="store_true", help="nothing when all is well")
    arguments = parser.parse_args()
    report = check(arguments.root.resolve())
    for warning in report.warnings:
        print(f"{warning} (warning)")
    for error in report.errors:
        print(f"{error}")
    if report.errors:
        print(f"check_layers: {len(report.errors)} errors", file=sys.stderr)
    elif not arguments.quiet:
        print("check_layers: in order")
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
