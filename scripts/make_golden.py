#!/usr/bin/env python3
"""Writes tests/golden/model/*.safetensors: losses and gradients of small models, computed in float64
by scripts/pytorch_model.py. Deterministic: running it again changes no byte.

    python scripts/make_golden.py [--out tests/golden/model]      needs torch, numpy, safetensors

One file per case, B = 2 sequences of T = 19 tokens, two layers:
  metadata  config ({"model": section, "sequence_length": T} as JSON)
  tokens, targets, [first_key]      int32 (B, T); first_key[b, i] is the first key query i may see
  weights/NAME                      bf16: the weights are chosen representable, so they are exact in
                                    every precision
  losses                            float64 (B, T), nats
  gradients/NAME                    of the mean loss; float64 for the normalizers' own parameters,
                                    else float32 (relative rounding 6e-8)

adamw_steps.safetensors holds three optimizer steps of two micro-batches each:
  tokens, targets                   int32 (3, 2, B, T)
  weights/NAME                      bf16, before the first step
  losses                            float64 (3, 2), mean loss of each micro-batch before its step
  gradient_norms                    float64 (3), global norm of the mean gradient before clipping
  learning_rates                    float64 (3)
  after_1/NAME, after_2/NAME, after_3/NAME    float32, weights after each step
The gradient of a step is that of the mean loss over both micro-batches; clipping multiplies it by
min(1, clip_norm / norm); weight decay acts on parameters of rank two and more.
"""

import argparse
import json
import pathlib
import sys

try:
    import numpy as np
    import torch
    from safetensors.torch import save_file
except ImportError as error:
    sys.exit(f"make_golden.py: {error.name} is missing; run `pip install torch numpy safetensors`")

from pytorch_model import LanguageModel

BATCH, TIME = 2, 19
BASE = {
    "vocab_size": 61, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "hidden_size": 24, "intermediate_size": 7, "mlp": "swiglu", "norm": "rms_norm",
    "norm_eps": 1e-5, "position": {"kind": "rope", "theta": 10000}, "bias": False,
    "tie_word_embeddings": True, "normalizer": {"kind": "softmax"},
}
GPT2 = {
    "norm": "layer_norm", "mlp": "gelu", "position": {"kind": "learned"}, "bias": True,
    "tie_word_embeddings": True,
}
SSMAX_SCALE = {"kind": "ssmax", "learn_scale": True, "bias": True,
               "initial_scale": 1.0, "initial_bias": 0.0}


def normalizer(kind, **options):
    return {"normalizer": {"kind": kind, **options}}


CASES = {
    "softmax": {"tie_word_embeddings": False},
    "ssmax": normalizer("ssmax"),
    "ssmax_fixed_scale": normalizer("ssmax", learn_scale=False),
    "ssmax_bias": normalizer("ssmax", bias=True),
    "ssmax_negative_scale": normalizer("ssmax"),
    "learned_length": normalizer("learned_length"),
    "self_adjust_plain": normalizer("self_adjust", variant="plain"),
    "self_adjust_shifted": normalizer("self_adjust", variant="shifted"),
    "self_adjust_min_max": normalizer("self_adjust", variant="min_max"),
    "self_adjust_normalized": normalizer("self_adjust", variant="normalized"),
    "self_adjust_ssmax": normalizer("self_adjust", variant="normalized", scale=SSMAX_SCALE),
    "sink": normalizer("sink"),
    "sink_off_by_one": normalizer("sink", learned=False),
    "sink_ssmax": normalizer("sink", scale=SSMAX_SCALE),
    "sigmoid": normalizer("sigmoid"),
    "softpick": normalizer("softpick"),
    "temperature": normalizer("temperature", beta=0.3, original_length=4),
    "log_n": normalizer("log_n", train_length=7),
    "entmax": normalizer("entmax"),
    "entmax_1_25": normalizer("entmax", alpha=1.25),
    "sparsemax": normalizer("entmax", alpha=2.0),
    "gpt2": GPT2,
    "alibi_self_adjust": {"position": {"kind": "alibi"}, "bias": True,
                          **normalizer("self_adjust", variant="normalized")},
    "no_positions": {"position": {"kind": "none"}, "tie_word_embeddings": False},
    "grouped_queries": {"num_key_value_heads": 2, **normalizer("ssmax")},
    "document_mask": normalizer("ssmax", bias=True),
    "document_mask_self_adjust": normalizer("self_adjust", variant="normalized"),
}
NEGATIVE_SCALES = [-0.75, 0.875, -1.125, 0.5]


def draw(name, shape, generator):
    """Weights that make every part of the model matter: scores of order one, norms around one."""
    normal = torch.from_numpy(generator.standard_normal(tuple(shape)))
    if name.endswith(("layernorm.weight", "norm.weight")):
        return 1 + 0.2 * normal
    if name.endswith("length_scale"):
        return torch.arange(1, shape[0] + 1, dtype=torch.float64).log() + 0.2 * normal
    if name.endswith("normalizer.scale"):
        return 1 + 0.3 * normal
    if name.endswith("normalizer.sink"):
        return 0.5 * normal
    if len(shape) == 1:
        return 0.3 * normal
    if "embed" in name or name == "lm_head.weight":
        return 0.4 * normal
    return 1.2 / shape[1] ** 0.5 * normal


def build(section, seed):
    """The model with drawn weights, all of them representable in bf16."""
    model = LanguageModel(section, TIME, torch.float64)
    generator = np.random.Generator(np.random.PCG64(seed))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(draw(name, parameter.shape, generator).bfloat16())
    return model, generator


def draw_tokens(generator, *leading):
    stream = torch.from_numpy(generator.integers(0, BASE["vocab_size"], (*leading, TIME + 1)))
    return stream[..., :-1].contiguous(), stream[..., 1:].contiguous()


def document_starts():
    """first_key of two sequences packed with documents that start at 0, 5, 6 and at 0, 13."""
    rows = []
    for starts in ([0, 5, 6], [0, 13]):
        rows.append([max(s for s in starts if s <= i) for i in range(TIME)])
    return torch.tensor(rows)


def check_gradient(model, arguments, seed):
    """One random direction, autograd against central differences: a guard on the script itself."""
    generator = np.random.Generator(np.random.PCG64(seed))
    parameters = list(model.parameters())
    direction = [torch.from_numpy(generator.standard_normal(tuple(p.shape))) for p in parameters]
    expected = sum((p.grad * d).sum().item() for p, d in zip(parameters, direction))
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2, 1):
            for p, d in zip(parameters, direction):
                p.add_(d, alpha=sign * step)
            values.append(model(*arguments).mean().item())
    found = (values[0] - values[1]) / (2 * step)
    # 1e-6: rounding of a loss of 4 to 1e-16 over a step of 1e-6, and the third derivative
    if not abs(found - expected) <= 1e-6 * max(1.0, abs(expected)):
        raise SystemExit(f"gradient {expected} but differences {found} (seed {seed})")


def is_normalizer(name):
    return "normalizer." in name


def make_case(name, changes, seed):
    section = {**BASE, **changes}
    model, generator = build(section, seed)
    if name == "ssmax_negative_scale":
        with torch.no_grad():
            for layer in model.model.layers:
                layer.self_attn.normalizer.scale.copy_(torch.tensor(NEGATIVE_SCALES))
    tokens, targets = draw_tokens(generator, BATCH)
    first_key = document_starts() if name.startswith("document_mask") else None
    arguments = (tokens, targets, first_key)

    tensors = {"tokens": tokens.int(), "targets": targets.int()}
    if first_key is not None:
        tensors["first_key"] = first_key.int()
    for parameter_name, parameter in model.named_parameters():
        tensors["weights/" + parameter_name] = parameter.detach().bfloat16()
    losses = model(*arguments)
    losses.mean().backward()
    tensors["losses"] = losses.detach()
    for parameter_name, parameter in model.named_parameters():
        exact = is_normalizer(parameter_name)
        tensors["gradients/" + parameter_name] = parameter.grad if exact else parameter.grad.float()
    tensors = {key: value.clone() for key, value in tensors.items()}
    check_gradient(model, arguments, seed)
    return section, tensors


def make_adamw_steps(seed):
    section = {**BASE, "tie_word_embeddings": False, **normalizer("ssmax", bias=True)}
    model, generator = build(section, seed)
    tokens, targets = draw_tokens(generator, 3, 2, BATCH)
    tensors = {"tokens": tokens.int(), "targets": targets.int()}
    for name, parameter in model.named_parameters():
        tensors["weights/" + name] = parameter.detach().bfloat16()

    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95), eps=1e-8)
    learning_rates = [0.0025, 0.005, 0.01]
    losses, norms = [], []
    for step, learning_rate in enumerate(learning_rates):
        for micro in range(2):
            loss = model(tokens[step, micro], targets[step, micro]).mean()
            (loss / 2).backward()
            losses.append(loss.item())
        norm = torch.sqrt(sum((p.grad ** 2).sum() for p in model.parameters()))
        norms.append(norm.item())
        for p in model.parameters():
            p.grad.mul_(min(1.0, 1.0 / norm.item()))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in model.named_parameters():
            tensors[f"after_{step + 1}/{name}"] = parameter.detach().float().clone()
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64).view(3, 2)
    tensors["gradient_norms"] = torch.tensor(norms, dtype=torch.float64)
    tensors["learning_rates"] = torch.tensor(learning_rates, dtype=torch.float64)
    return section, tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests/golden/model")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # one order of every sum
    total = 0
    for index, (name, changes) in enumerate([*CASES.items(), ("adamw_steps", None)]):
        seed = 1000 + index
        section, tensors = make_adamw_steps(seed) if changes is None else \
            make_case(name, changes, seed)
        path = out / f"{name}.safetensors"
        metadata = {"model": section, "sequence_length": TIME}
        if changes is None:
            metadata["optimizer"] = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8,
                                     "weight_decay": 0.1, "clip_norm": 1.0}
        save_file(tensors, path, {"config": json.dumps(metadata)})
        total += path.stat().st_size
        shown = tensors["gradient_norms"].tolist() if changes is None else \
            round(tensors["losses"].mean().item(), 6)
        print(f"{path.name:40s} {path.stat().st_size:8d} bytes   {shown}")
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
