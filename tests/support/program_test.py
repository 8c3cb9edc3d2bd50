"""What the tests of the program's commands have in common."""

import pathlib
import subprocess
import sys
import tempfile


class ProgramTest:
    """A test with an empty folder to work in; all() is what it does."""

    def __init__(self, program, folder):
        self.program, self.folder, self.failures = program, folder, []

    def run(self, *arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
                   "cwd": self.folder, **options}
        return subprocess.run([self.program, *map(str, arguments)], check=False, timeout=60,
                              **options)

    def make(self, *arguments):
        """What the rest stands on: stdout; ends the test unless it works."""
        result = self.run(*arguments)
        if result.returncode != 0:
            sys.exit(f"ssmax {' '.join(map(str, arguments))}: exit code {result.returncode}\n"
                     f"{result.stderr}")
        return result.stdout

    def expect(self, holds, message):
        if not holds:
            self.failures.append(message)


def main(test_class):
    """Runs it for the PROGRAM of the command line; the exit code says whether all holds."""
    with tempfile.TemporaryDirectory() as name:
        test = test_class(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(name))
        test.all()
    for failure in test.failures:
        print(failure)
    print(f"{len(test.failures)} failures")
    sys.exit(1 if test.failures else 0)
