#!/usr/bin/env python3
"""The data loaders of llm.c and modded-nanogpt on shards of `ssmax prepare`, and ours on theirs.

    python scripts/compare_loaders.py PROGRAM --llmc LLM_C --modded MODDED_NANOGPT_FILE

LLM_C is a checkout of karpathy/llm.c, MODDED_NANOGPT_FILE a train_gpt*.py or run_*.py of
KellerJordan/modded-nanogpt with the function _load_data_shard. Their own code runs: llm.c's loader is
compiled, its writer and modded-nanogpt's reader are imported. Needs gcc and numpy (torch where the
reader does).
"""

import argparse
import ast
import pathlib
import subprocess
import sys
import tempfile
import types

try:
    import numpy as np
except ImportError:
    sys.exit("compare_loaders.py: numpy is missing; install it with `pip install numpy`")

BATCH, TIME, BATCHES = 4, 32, 5
MAIN = """
#define _GNU_SOURCE
#include "llmc/dataloader.h"
int main(int argc, char** argv) {
  DataLoader loader;
  dataloader_init(&loader, argv[1], %d, %d, 0, 1, 0);
  for (int b = 0; b < %d; ++b) {
    dataloader_next_batch(&loader);
    for (int i = 0; i < %d; ++i) printf("%%d %%d\\n", loader.inputs[i], loader.targets[i]);
  }
  dataloader_free(&loader);
  return 0;
}
""" % (BATCH, TIME, BATCHES, BATCH * TIME)


def run(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True,
                          text=True, **more).stdout


class Unpinned:
    """torch, but without a GPU its memory is not pinned, which needs a driver."""

    def __getattr__(self, name):
        import torch
        if name != "empty" or torch.cuda.is_available():
            return getattr(torch, name)
        return lambda *sizes, pin_memory=False, **more: torch.empty(*sizes, **more)


def function_of(file, name):
    """The function `name` of a Python file with the constants that it uses, and nothing else run."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree)
             if isinstance(node, ast.FunctionDef) and node.name == name]
    if not found:
        sys.exit(f"{file}: has no function {name}")
    module = types.ModuleType(name)
    module.__dict__.update(np=np, Path=pathlib.Path)
    if "torch" in ast.unparse(found[0]):
        module.__dict__["torch"] = Unpinned()
    used = {node.id for node in ast.walk(found[0]) if isinstance(node, ast.Name)}
    constants = [node for node in tree.body if isinstance(node, ast.Assign)
                 and getattr(node.targets[0], "id", None) in used]
    found[0].decorator_list = []
    exec(compile(ast.Module([*constants, found[0]], []), str(file), "exec"), module.__dict__)
    return module.__dict__[name]


def llmc_batches(llmc, shard, folder):
    source = folder / "main.c"
    source.write_text(MAIN)
    run("gcc", "-O1", "-w", "-I", llmc, "-o", folder / "read", source, "-lm")
    pairs = run(folder / "read", shard).split()
    return np.array(pairs, np.int64).reshape(-1, 2)


def our_tokens(shard):
    """The tokens as `ssmax prepare` is documented to write them."""
    return np.frombuffer(shard.read_bytes()[1024:], np.uint16)


def our_logit_tokens(program, shard, run_folder, folder):
    """The tokens that our loader hands to a model, from `ssmax evaluate logits`."""
    from safetensors.numpy import load_file
    out = folder / "logits.safetensors"
    run(program, "evaluate", run_folder, "logits", "--data", shard, "--sequence-length", TIME,
        "--sequences", BATCH * BATCHES, "--out", out)
    return load_file(out)["tokens"].reshape(-1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program")
    parser.add_argument("--llmc", type=pathlib.Path, required=True)
    parser.add_argument("--modded", type=pathlib.Path, required=True)
    parser.add_argument("--run", help="a run of vocabulary >= 257, to hand shards to a model")
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.program).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 200)
        run(program, "prepare", folder / "text.txt", "--tokenizer", "bytes", "--out",
            folder / "out")
        shard = folder / "out" / "train_000000.bin"
        tokens = our_tokens(shard)

        count = BATCH * TIME * BATCHES
        expected = np.stack([tokens[:count], tokens[1:count + 1]], 1)
        same = (llmc_batches(arguments.llmc, shard, folder) == expected).all()
        print(f"llm.c's loader on our shard: {count} inputs and targets "
              f"{'equal' if same else 'DIFFER'}")

        theirs = np.asarray(function_of(arguments.modded, "_load_data_shard")(shard))
        print(f"modded-nanogpt's loader on our shard: {len(theirs)} tokens "
              f"{'equal' if (theirs == tokens).all() and len(theirs) == len(tokens) else 'DIFFER'}")

        writer = function_of(arguments.llmc / "dev" / "data" / "data_common.py", "write_datafile")
        for model, limit in (("gpt-2", 257), ("llama-3", 257)):
            drawn = np.random.Generator(np.random.PCG64(1)).integers(0, limit, 1000).tolist()
            written = folder / f"{model}.bin"
            writer(str(written), drawn, model)
            shown = run(program, "inspect", written).splitlines()[0]
            line = f"ours on a shard of llm.c's writer ({model}): {shown.split(': ', 1)[1]}"
            if arguments.run:
                read = our_logit_tokens(program, written, arguments.run, folder)
                line += ", tokens " + ("equal" if (read == drawn[:len(read)]).all() else "DIFFER")
            print(line)


if __name__ == "__main__":
    main()
