#!/usr/bin/env python3
"""scripts/compare_devices.py with a program that writes the losses it is told to."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Losses of four steps, which each device draws from its own list.
PROGRAM = """#!/usr/bin/env python3
import json, pathlib, sys
given = dict(word.lstrip("-").split("=", 1) for word in sys.argv if "=" in word)
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
losses = json.loads(given[given["training.device"]])
if not losses:
    sys.exit("ssmax: no such device")
out.mkdir(parents=True)
(out / "log.txt").write_text("12:00:00 I run: on the %s of a test\\n" % given["training.device"])
with open(out / "metrics.jsonl", "w") as file:
    for step, loss in enumerate(losses, 1):
        file.write('{"event":"step","step":%d,"loss":%r}\\n' % (step, loss))
    file.write('{"event":"validation","step":%d,"loss":%r}\\n' % (len(losses), losses[-1]))
"""
CPU = [7.0, 6.5, 6.0, 5.5]


class CompareDevicesTest(unittest.TestCase):
    def compare(self, gpu):
        """(exit code, the report or what was printed instead)."""
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "program"
            program.write_text(PROGRAM)
            program.chmod(0o755)
            done = subprocess.run(
                [sys.executable, ROOT / "scripts/compare_devices.py", program, "--out", f"{folder}/out",
                 "--train", "train.bin", "--validation", "val.bin", "--config", "one.json",
                 "--steps", "4", "--set", f"cpu={json.dumps(CPU)}", "--set", f"cuda={json.dumps(gpu)}"],
                text=True, capture_output=True, check=False)
            report = pathlib.Path(f"{folder}/out.md")
            return done.returncode, report.read_text() if report.exists() else done.stderr

    def test_reports_runs_that_agree(self):
        code, report = self.compare([7.0, 6.5, 6.0, 5.502])
        self.assertEqual(code, 0, report)
        self.assertIn("4 steps on the cpu of a test and on the cuda of a test", report)
        self.assertIn("| one | 5.5000 | 5.5020 | 0.0e+00 | 2.0e-03 | 5.0e-04 | 2.0e-03 |", report)

    def test_fails_beyond_a_bound(self):
        code, report = self.compare([7.001, 6.5, 6.0, 5.401])
        self.assertEqual(code, 1)
        self.assertIn("one: the losses differ by 1.00e-03 at the first step, expected at most 0.0005",
                      report)
        self.assertIn("by 9.90e-02 in the first 20 steps, expected at most 0.003", report)
        self.assertIn("by 2.50e-02 as the mean over all steps, expected at most 0.02", report)

    def test_a_failed_run_is_named_with_what_it_printed(self):
        code, printed = self.compare([])
        self.assertEqual(code, 1)
        self.assertRegex(printed, r"cuda_bf16/one failed:\nssmax: no such device")


if __name__ == "__main__":
    unittest.main()
