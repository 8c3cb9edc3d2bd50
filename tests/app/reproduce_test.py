#!/usr/bin/env python3
"""Runs scripts/reproduce.sh at the scale that shows that everything works, twice: the second time it
must find everything done. usage: reproduce_test.py PROGRAM FOLDER"""

import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNS = "a_softmax,e_swap_after,learned_length"


def reproduce(program, folder):
    result = subprocess.run(
        [ROOT / "scripts/reproduce.sh", "--scale", "tiny", "--only", RUNS, "--ssmax", program,
         "--data", folder / "data", "--runs", folder / "runs", "--out", folder / "out"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"reproduce.sh: exit code {result.returncode}\n{result.stdout[-6000:]}")
    return result.stdout


def main():
    program, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reproduce(program, folder)
    out = folder / "out"
    report = (out / "report.md").read_text(encoding="utf-8")
    for wanted in ("## Figure 1", "## Figure 2", "## Figure 4", "## Figure 5", "## Figure 6",
                   "## Figure 7", "## Figure 8", "the same to the last digit", "(e) swapped"):
        if wanted not in report:
            sys.exit(f"report.md lacks {wanted!r}:\n{report}")
    if "<table" not in (out / "report.html").read_text(encoding="utf-8"):
        sys.exit("report.html has no table")
    times = (out / "seconds.txt").read_text(encoding="utf-8")
    reproduce(program, folder)
    if (out / "seconds.txt").read_text(encoding="utf-8") != times:
        sys.exit("the second call did work that was done")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
