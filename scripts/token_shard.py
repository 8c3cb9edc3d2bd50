"""Token shards for the scripts that try the program out. Needs the Python standard library only."""

import array
import random
import sys


def write_shard(path, tokens):
    """A shard of 16-bit ids: 256 little-endian int32, then the tokens."""
    header = array.array("i", [20240520, 1, len(tokens)] + [0] * 253)
    ids = array.array("H", tokens)
    if sys.byteorder == "big":
        header.byteswap()
        ids.byteswap()
    path.write_bytes(header.tobytes() + ids.tobytes())


def write_random_shard(path, vocabulary, count):
    """The same ids below `vocabulary` every time."""
    draw = random.Random(1)
    write_shard(path, [draw.randrange(vocabulary) for _ in range(count)])
