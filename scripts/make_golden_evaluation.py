#!/usr/bin/env python3
"""Writes tests/golden/evaluation/models.safetensors: what evaluations of the models in
tests/golden/model must give, computed in float64 by scripts/pytorch_model.py.

    python scripts/make_golden_evaluation.py          needs torch, numpy, safetensors

For each CASE below, with the weights and tokens (B, T) of tests/golden/model/CASE.safetensors:
  CASE/rows            float64 (layers, B, H, T): attention weights of the last query
  CASE/greedy          int32 (B, 6): greedy continuation of the first 12 tokens
  CASE/log_likelihood  float64 (B): of tokens 14 .. T - 1 behind those in front of them
"""

import json
import pathlib
import sys

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file
except ImportError as error:
    sys.exit(f"make_golden_evaluation.py: {error.name} is missing; run `pip install torch safetensors`")

from pytorch_model import LanguageModel

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = ["softmax", "ssmax_bias", "ssmax_negative_scale", "learned_length", "self_adjust_plain",
         "self_adjust_normalized", "sink_ssmax", "sigmoid", "softpick", "temperature", "log_n",
         "entmax", "gpt2", "alibi_self_adjust", "grouped_queries"]
PROMPT, GREEDY, CONTEXT = 12, 6, 14


def load(case):
    with safe_open(ROOT / f"tests/golden/model/{case}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        model = LanguageModel(config["model"], config["sequence_length"], torch.float64)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(file.get_tensor("weights/" + name))
        return model, file.get_tensor("tokens").long()


def logits_of(model, tokens):
    return model.lm_head(model.model(tokens, None))


def main():
    torch.set_num_threads(1)
    tensors = {}
    for case in CASES:
        model, tokens = load(case)
        rows = []
        hooks = [layer.self_attn.normalizer.register_forward_hook(
            lambda module, inputs, weights: rows.append(weights[:, :, -1, :]))
            for layer in model.model.layers]
        with torch.no_grad():
            logits = logits_of(model, tokens)
            for hook in hooks:
                hook.remove()
            context = tokens[:, :PROMPT]
            for _ in range(GREEDY):
                context = torch.cat([context, logits_of(model, context)[:, -1:].argmax(-1)], 1)
        batch, time = tokens.shape
        answers = logits[:, CONTEXT - 1:time - 1].log_softmax(-1)
        wanted = tokens[:, CONTEXT:]
        tensors[f"{case}/rows"] = torch.stack(rows).expand(-1, batch, -1, -1).contiguous()
        tensors[f"{case}/greedy"] = context[:, PROMPT:].int().contiguous()
        tensors[f"{case}/log_likelihood"] = answers.gather(-1, wanted[..., None]).sum((1, 2))
        print(f"{case:24s} {tensors[f'{case}/log_likelihood'].tolist()}")
    out = ROOT / "tests/golden/evaluation"
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "models.safetensors")


if __name__ == "__main__":
    main()
