#!/usr/bin/env python3
"""scripts/follow_metrics.py against a file that grows, is cut by a resume, and ends."""

import json
import pathlib
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import follow_metrics  # noqa: E402

follow_metrics.CHECK_SECONDS = 0.02


def line(event, step=None, **more):
    entry = {"event": event, **({} if step is None else {"step": step}), **more}
    return json.dumps(entry) + "\n"


class FollowTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name) / "metrics.jsonl"

    def tearDown(self):
        self.folder.cleanup()

    def test_reads_what_is_there_and_stops(self):
        self.path.write_text(line("start", 0) + line("step", 1, loss=2.5) + line("step", 2)[:-5])
        entries = list(follow_metrics.follow(self.folder.name, live=False))
        self.assertEqual([entry["event"] for entry in entries], ["start", "step"])
        self.assertEqual(follow_metrics.numbers(entries[1]), {"train/loss": 2.5})

    def test_follows_through_a_resume_without_repeating_a_step(self):
        first = line("start", 0) + line("step", 1) + line("validation", 1) + line("step", 2)
        found, reader = [], None

        def read():
            found.extend(follow_metrics.follow(self.folder.name, live=True))

        self.path.write_text(first + line("step", 3)[:4])
        reader = threading.Thread(target=read)
        reader.start()
        while len(found) < 4:
            pass
        # Back to the checkpoint of step 1, then on, each write seen on its own.
        for text in (line("start", 0) + line("step", 1) + line("validation", 1),
                     first + line("step", 3) + line("validation", 3)):
            self.path.write_text(text)
            threading.Event().wait(0.1)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line("end", 3))
        reader.join(10)
        self.assertFalse(reader.is_alive())
        steps = [entry["step"] for entry in found if entry["event"] == "step"]
        validations = [entry["step"] for entry in found if entry["event"] == "validation"]
        self.assertEqual((steps, validations), ([1, 2, 3], [1, 3]))

    def test_config_has_dotted_keys(self):
        self.path.with_name("config.json").write_text('{"a": {"b": 1, "c": [2]}, "d": "x"}')
        self.assertEqual(follow_metrics.run_config(self.folder.name),
                         {"a.b": 1, "a.c": [2], "d": "x"})


if __name__ == "__main__":
    unittest.main()
