#!/usr/bin/env python3
"""Writes tests/golden/hugging_face: small models with their logits in Hugging Face transformers.

    python scripts/make_golden_exports.py PROGRAM      needs torch, transformers, safetensors

NAME/given         a folder to import: of GPT-2 and Llama made by transformers, of `ssmax` and `sink`
                   in our own form
NAME/exported      what `ssmax export` makes of it (modeling_ssmax.py left out)
NAME/logits.safetensors   tokens (1, T) and logits (1, T, V) of NAME/exported in transformers, fp32
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import save_file
except ImportError as error:
    sys.exit(f"make_golden_exports.py: {error.name} is missing; run `pip install torch transformers "
             "safetensors`")

from make_golden import draw
from pytorch_model import LanguageModel

TIME = 24
SIZES = {"vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
OWN = {**SIZES, "num_key_value_heads": 2, "intermediate_size": 12, "mlp": "swiglu",
       "norm": "rms_norm", "norm_eps": 1e-5, "position": {"kind": "rope", "theta": 10000.0},
       "bias": False, "tie_word_embeddings": True}
NORMALIZERS = {"ssmax": {"kind": "ssmax", "learn_scale": True, "bias": False, "initial_scale": 1.0,
                         "initial_bias": 0.0},
               "sink": {"kind": "sink", "learned": True, "initial_sink": 0.0,
                        "scale": {"kind": "none"}}}


def randomize(model, seed):
    """Weights of order one, so that attention matters."""
    generator = np.random.Generator(np.random.PCG64(seed))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(draw(name, parameter.shape, generator).bfloat16())


def given_by_transformers(name, folder):
    if name == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=61, n_positions=32, n_embd=16, n_layer=2, n_head=4, n_inner=12)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            **SIZES, num_key_value_heads=2, intermediate_size=12, max_position_embeddings=32,
            rms_norm_eps=1e-5)
        model = transformers.LlamaForCausalLM(config)
    randomize(model, len(name))
    model.save_pretrained(folder)


def given_by_us(name, folder):
    model = LanguageModel({**OWN, "normalizer": NORMALIZERS[name]}, 32)
    randomize(model, len(name))
    folder.mkdir(parents=True)
    config = {"model_type": "ssmax", "dtype": "float32", "max_position_embeddings": 32,
              **model.config}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {key: value.detach().contiguous() for key, value in model.named_parameters()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program")
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/hugging_face"
    program = str(pathlib.Path(arguments.program).resolve())
    torch.set_num_threads(1)
    for name in ("gpt2", "llama", "ssmax", "sink"):
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        (given_by_us if name in NORMALIZERS else given_by_transformers)(name, folder / "given")
        (folder / "given" / "generation_config.json").unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as run:
            subprocess.run([program, "import", folder / "given", "--out", f"{run}/run"], check=True)
            subprocess.run([program, "export", f"{run}/run", "--out", folder / "exported"],
                           check=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "exported", dtype=torch.float32, trust_remote_code=True).eval()
        generator = np.random.Generator(np.random.PCG64(9))
        tokens = torch.from_numpy(generator.integers(0, 61, (1, TIME)))
        with torch.no_grad():
            logits = model(tokens).logits
        save_file({"tokens": tokens.int(), "logits": logits.contiguous()},
                  folder / "logits.safetensors")
        (folder / "exported" / "modeling_ssmax.py").unlink(missing_ok=True)
        shutil.rmtree(folder / "exported" / "__pycache__", ignore_errors=True)
        print(f"{name}: {type(model).__name__}, logits up to {logits.abs().max().item():.3f}")


if __name__ == "__main__":
    main()
