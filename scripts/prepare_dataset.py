#!/usr/bin/env python3
"""Streams a data set of Hugging Face into token shards; interrupted, the same command goes on.

    scripts/prepare_dataset.py --tokenizer data/gpt2 --out data/fineweb_edu --tokens 1e9
    scripts/prepare_dataset.py DATASET --config NAME --split train --column text ...

DATASET is a name on the hub (default HuggingFaceFW/fineweb-edu, config sample-10BT) or a folder of
parquet, JSON Lines or text files. Documents are collected into parts of --part-mb and encoded by
`ssmax prepare` on all cores while the next part is read. OUT then looks as `ssmax prepare` leaves it:
train_000000.bin, ..., val_000000.bin, ..., manifest.json, tokenizer.json; progress.json says how far
the data set has been read. A part counts when its shards and progress.json are written, so that no
document is lost or taken twice. Needs `pip install datasets`.
"""

import argparse
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

PROGRESS = "progress.json"
NOTHING = {"documents": 0, "tokens": 0, "train_files": 0, "validation_files": 0, "state": None,
           "ended": False}
SHOW_SECONDS = 2.0


def write_json(path, value):
    """Durable and whole: temporary file, fsync, rename."""
    temporary = path.with_name(f"part.{path.name}")  # removed with the parts after a kill
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def die_with_parent():
    """Linux: a killed script must leave nobody behind who still writes into OUT."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def default_program():
    root = pathlib.Path(__file__).resolve().parent.parent
    built = root / "build" / "cpu" / "ssmax"
    return str(built) if built.exists() else shutil.which("ssmax") or str(built)


class Shards:
    """OUT: what is in it, and how parts get into it."""

    def __init__(self, arguments):
        self.out = pathlib.Path(arguments.out)
        self.arguments = arguments
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / PROGRESS
        source = {"dataset": arguments.dataset, "config": arguments.config,
                  "split": arguments.split, "column": arguments.column,
                  "tokenizer": arguments.tokenizer}
        if path.exists():
            self.progress = json.loads(path.read_text(encoding="utf-8"))
            if self.progress["source"] != source:
                sys.exit(f"{path}: was made from {self.progress['source']}, not from {source}; "
                         "choose another --out")
        elif any(self.out.iterdir()):
            sys.exit(f"{self.out} is not empty and has no {PROGRESS}; choose another --out")
        else:
            self.progress = {**NOTHING, "source": source}
        self.remove_uncounted()

    def remove_uncounted(self):
        """What an interruption left: shards behind those that count, and parts."""
        for prefix, key in (("train", "train_files"), ("val", "validation_files")):
            for path in self.out.glob(f"{prefix}_*.bin"):
                if int(path.stem.rsplit("_", 1)[1]) >= self.progress[key]:
                    path.unlink()
        for path in self.out.glob("part*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def start_encoding(self, text):
        part = self.out / "part"
        command = [self.arguments.program, "prepare", str(text), "--tokenizer",
                   self.arguments.tokenizer, "--out", str(part)]
        if self.arguments.validation_fraction:
            command += ["--validation-fraction", str(self.arguments.validation_fraction)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, preexec_fn=die_with_parent)

    def take(self, process, text, documents, state, ended):
        """Waits for the part and makes it count."""
        output, _ = process.communicate()
        if process.returncode != 0:
            sys.exit(f"ssmax prepare failed with exit code {process.returncode}:\n{output}")
        part = self.out / "part"
        added = json.loads((part / "manifest.json").read_text(encoding="utf-8"))
        whole = self.out / "manifest.json"
        manifest = json.loads(whole.read_text(encoding="utf-8")) if whole.exists() else None
        # An interruption between the manifest and progress.json leaves entries that do not count.
        manifest = self.cut(manifest) if manifest else None
        if manifest and manifest["tokenizer"]["hash"] != added["tokenizer"]["hash"]:
            sys.exit(f"{whole}: was made with another tokenizer")
        for split, prefix, key in (("train", "train", "train_files"),
                                   ("validation", "val", "validation_files")):
            for entry in added[split]["files"]:
                name = f"{prefix}_{self.progress[key]:06d}.bin"
                os.replace(part / entry["file"], self.out / name)
                entry["file"] = name
                self.progress[key] += 1
            if manifest:
                for count in ("documents", "tokens", "text_bytes"):
                    manifest[split][count] += added[split][count]
                manifest[split]["files"] += added[split]["files"]
        if not manifest:
            os.replace(part / "tokenizer.json", self.out / "tokenizer.json")
        manifest = manifest or added
        write_json(whole, manifest)
        self.progress.update(documents=documents, state=state, ended=ended,
                             tokens=manifest["train"]["tokens"] + manifest["validation"]["tokens"],
                             counts={split: {key: manifest[split][key] for key in
                                             ("documents", "tokens", "text_bytes")}
                                     for split in ("train", "validation")})
        write_json(self.out / PROGRESS, self.progress)
        shutil.rmtree(part)
        text.unlink()

    def cut(self, manifest):
        """The manifest of what progress.json counts."""
        counts = self.progress.get("counts")
        if counts is None:
            return None
        for split, key in (("train", "train_files"), ("validation", "validation_files")):
            manifest[split].update(counts[split])
            manifest[split]["files"] = manifest[split]["files"][:self.progress[key]]
        return manifest


class Line:
    """One line about the progress, in place on a terminal."""

    def __init__(self, wanted, tokens):
        self.wanted, self.start_tokens = wanted, tokens
        self.start = self.shown = time.monotonic()

    def show(self, documents, characters, tokens, last=False):
        now = time.monotonic()
        if not last and now - self.shown < (SHOW_SECONDS if sys.stderr.isatty() else 15):
            return
        self.shown = now
        rate = (tokens - self.start_tokens) / (now - self.start)
        text = (f"{documents:,} documents, {characters / 1e6:,.1f} M characters read, "
                f"{tokens / 1e6:,.1f} M tokens encoded")
        if self.wanted and rate > 0:
            left = max(0, self.wanted - tokens) / rate
            text += f" of {self.wanted / 1e6:,.1f} M, {left / 60:.0f} min left"
        end = "\n" if last or not sys.stderr.isatty() else ""
        print(("\r\033[K" if sys.stderr.isatty() else "") + text, end=end, file=sys.stderr,
              flush=True)


def open_dataset(arguments, progress):
    import datasets

    source = pathlib.Path(arguments.dataset)
    if source.is_dir():
        data = datasets.load_dataset(str(source), split=arguments.split, streaming=True)
    else:
        data = datasets.load_dataset(arguments.dataset, arguments.config, split=arguments.split,
                                     streaming=True)
    if progress["state"] is not None:
        data.load_state_dict(progress["state"])
    return data


def collect(documents, column, path, limit):
    """Writes documents to `path` until `limit` characters; (documents, characters, ended)."""
    count = characters = 0
    with open(path, "w", encoding="utf-8") as file:
        for document in documents:
            if column not in document:
                sys.exit(f"the documents have no column {column!r}, but {sorted(document)}; name "
                         "one with --column")
            text = document[column]
            count += 1
            if text:
                # Lone surrogates are no text that UTF-8 can hold.
                text = text.encode("utf-8", "replace").decode("utf-8")
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                characters += len(text)
            if characters >= limit:
                return count, characters, False
    return count, characters, True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset", nargs="?", default="HuggingFaceFW/fineweb-edu")
    parser.add_argument("--config", default=None, help="default sample-10BT for FineWeb-Edu")
    parser.add_argument("--split", default="train")
    parser.add_argument("--column", default="text")
    parser.add_argument("--tokenizer", required=True, help="as for `ssmax prepare`")
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokens", type=float, default=0, help="stop soon after so many; default all")
    parser.add_argument("--validation-fraction", type=float, default=0.001)
    parser.add_argument("--part-mb", type=float, default=256, help="text of one part")
    parser.add_argument("--program", default=default_program(), help="the ssmax to call")
    arguments = parser.parse_args()
    if arguments.config is None and arguments.dataset == "HuggingFaceFW/fineweb-edu":
        arguments.config = "sample-10BT"
    try:
        import datasets  # noqa: F401
    except ImportError:
        sys.exit("prepare_dataset.py: datasets is missing; run `pip install datasets`")
    shards = Shards(arguments)
    progress = shards.progress
    line = Line(arguments.tokens, progress["tokens"])
    read, characters, number, pending = progress["documents"], 0, 0, None
    ended = progress["ended"]
    data = None if ended else open_dataset(arguments, progress)
    documents = iter(data) if data is not None else iter(())
    while not ended and not (arguments.tokens and progress["tokens"] >= arguments.tokens):
        path = shards.out / f"part_{number}.jsonl"
        number += 1
        count, size, ended = collect(documents, arguments.column, path, arguments.part_mb * 1e6)
        read, characters = read + count, characters + size
        state = data.state_dict()
        if pending:
            shards.take(*pending)
        pending = None
        if size:
            pending = (shards.start_encoding(path), path, read, state, ended)
        line.show(read, characters, progress["tokens"])
    if pending:
        shards.take(*pending)
    line.show(progress["documents"], characters, progress["tokens"], last=True)
    print(f"wrote {arguments.out}: {progress['tokens']:,} tokens of {progress['documents']:,} "
          f"documents in {progress['train_files']} + {progress['validation_files']} shards")


if __name__ == "__main__":
    main()
