#!/usr/bin/env python3
"""Speed of encoding with GPT-2's vocabulary: this program and tiktoken, in one run, interleaved.

  python3 scripts/compare_tokenizers.py --ssmax build/cpu/ssmax --gpt2 FOLDER --text FILE [--rounds 5]

FOLDER holds GPT-2's encoder.json and vocab.bpe; FILE is UTF-8 text, or JSON Lines with {"text": ...}.
Needs the Python package tiktoken. Each side gets one thread and the whole text as one list of
documents. The time of `ssmax prepare --threads 1` includes reading, JSON, writing and flushing shards
and starting the program; tiktoken's is the call of encode_ordinary alone. The ids are compared.
"per core" divides by the processor time that was used, which other programs on the machine change
less than the time on the clock.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
except ImportError as missing:
    sys.exit(f"compare_tokenizers.py: {missing.name} is missing; install it with "
             "`pip install numpy tiktoken`")

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def documents_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line)["text"] for line in text.splitlines() if line.strip()]
    return [text]


def processor_seconds():
    """Of all child processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def prepare(ssmax, gpt2, text, threads):
    """Seconds of `ssmax prepare` on the clock and of processor time, and its tokens."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        command = [ssmax, "prepare", text, "--tokenizer", gpt2, "--out", out, "--threads", threads]
        used, begin = processor_seconds(), time.perf_counter()
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        seconds = (time.perf_counter() - begin, processor_seconds() - used)
        shards = sorted(pathlib.Path(out).glob("train_*.bin"))
        tokens = np.concatenate([np.fromfile(shard, np.uint16, offset=1024) for shard in shards])
    return seconds, tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ssmax", type=pathlib.Path, required=True)
    parser.add_argument("--gpt2", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    files = [str(arguments.gpt2 / name) for name in ("vocab.bpe", "encoder.json")]
    encoding = tiktoken.Encoding(
        "gpt2",
        pat_str=PATTERN,
        mergeable_ranks=data_gym_to_mergeable_bpe_ranks(*files),
        special_tokens={"<|endoftext|>": 50256},
    )
    documents = documents_of(arguments.text)
    megabytes = sum(len(document.encode()) for document in documents) / 1e6

    seconds = {"ssmax prepare, 1 thread": [], "ssmax prepare, all cores": [], "tiktoken, 1 thread": []}
    for _ in range(arguments.rounds):
        paths = (arguments.ssmax.resolve(), arguments.gpt2, arguments.text)
        one, tokens = prepare(*paths, 1)
        every, same = prepare(*paths, 0)
        used, begin = time.process_time(), time.perf_counter()
        ids = [encoding.encode_ordinary(document) for document in documents]
        seconds["tiktoken, 1 thread"].append(
            (time.perf_counter() - begin, time.process_time() - used)
        )
        seconds["ssmax prepare, 1 thread"].append(one)
        seconds["ssmax prepare, all cores"].append(every)
    expected = np.concatenate([np.array([50256, *document], np.uint16) for document in ids if document])
    equal = np.array_equal(tokens, expected) and np.array_equal(same, expected)

    print(f"{len(documents)} documents, {megabytes:.1f} MB, {len(tokens)} tokens, ids {'equal' if equal else 'DIFFER'}")
    print("MB/s, median (best)            on the clock         per core")
    for name, times in seconds.items():
        columns = [[megabytes / pair[i] for pair in times] for i in (0, 1)]
        print(f"{name:25}", *(f"{statistics.median(c):10.1f} ({max(c):5.1f})" for c in columns))
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
