#!/usr/bin/env python3
"""Training speed of PyTorch on the CPU or a GPU, for the architectures and shapes that `ssmax` trains.

    python scripts/pytorch_speed.py --layers 6 --width 384 --heads 6 --architecture gpt2
    python scripts/pytorch_speed.py --variants compile-bf16-autocast --normalizer ssmax

Prints one JSON object per variant and line: name, tokens_per_second (median of the steps), best,
cpu_seconds and tokens of the measured steps, loss. A step is what `ssmax train` does: forward,
backward, clipping by the global norm at 1.0, fused AdamW with decay on matrices only. Random tokens;
softmax and the normalizers that only scale its logits run through PyTorch's fused attention.

Variants: {eager,compile}-{fp32, bf16-autocast, bf16-master}. bf16-autocast keeps fp32 weights and
casts them for every matmul; bf16-master keeps bf16 weights and gradients and an fp32 copy that AdamW
updates. --matmul-limit measures instead what PyTorch's matmul alone reaches at the shapes of the
model, forward and backward; --attention what its attention reaches alone: scaled_dot_product_attention
by the backends that are there, and FlexAttention, for softmax and for SSMax with a learned scale.
    python scripts/pytorch_speed.py --device cuda --attention --lengths 1024 4096 16384 --head-sizes 64 128
`ssmax bench attention` counts as this does: 4 T^2 D / 2 FLOP a head forward, 2.5 times that backward.
Needs torch (and g++ for the compiled variants).
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("pytorch_speed.py: torch is missing; run `pip install torch --index-url "
             "https://download.pytorch.org/whl/cpu`")

from pytorch_model import LanguageModel

VARIANTS = [f"{mode}-{precision}" for precision in ("fp32", "bf16-autocast", "bf16-master")
            for mode in ("eager", "compile")]
# The feed-forward width of the paper's model is 8/3 of its width; this rounds the same way.
ARCHITECTURES = {
    "llama": {"mlp": "swiglu", "norm": "rms_norm", "position": {"kind": "rope", "theta": 10000},
              "bias": False, "tie_word_embeddings": False},
    "gpt2": {"mlp": "gelu", "norm": "layer_norm", "position": {"kind": "learned"},
             "bias": True, "tie_word_embeddings": True},
}


def intermediate_size(architecture, width):
    return 4 * width if architecture == "gpt2" else (8 * width // 3 + 31) // 32 * 32


def section_of(options):
    """The `model` section of the config that has this architecture and shape."""
    return {
        "vocab_size": options.vocab, "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads, "num_key_value_heads": options.heads,
        "hidden_size": options.width,
        "intermediate_size": intermediate_size(options.architecture, options.width),
        **ARCHITECTURES[options.architecture], "normalizer": {"kind": options.normalizer},
    }


def matmul_shapes(options):
    """(inputs, outputs, count) of every matmul of the model's forward pass."""
    width, inner, layers = (options.width, intermediate_size(options.architecture, options.width),
                            options.layers)
    up = 2 if options.architecture == "llama" else 1
    return [(width, 3 * width, layers), (width, width, layers), (width, inner, up * layers),
            (inner, width, layers), (width, options.vocab, 1)]


def flop_per_token(options):
    """6 per matmul weight and 6 L C T for causal attention."""
    weights = sum(k * n * count for k, n, count in matmul_shapes(options))
    return 6 * weights + 6 * options.layers * options.width * options.length


class Trainer:
    def __init__(self, options, variant):
        mode, precision = variant.split("-", 1)
        torch.manual_seed(1)
        with torch.device(options.device):  # its constants too
            self.model = LanguageModel(section_of(options), options.length, fused=True)
        self.model.initialize()
        self.device = options.device
        self.autocast = precision == "bf16-autocast"
        self.masters = None
        self.weights = list(self.model.parameters())
        if precision == "bf16-master":
            self.masters = [w.detach().clone().requires_grad_() for w in self.weights]
            self.model.to(torch.bfloat16)
        updated = self.masters or self.weights
        groups = [{"params": [w for w in updated if w.dim() >= 2], "weight_decay": 0.1},
                  {"params": [w for w in updated if w.dim() < 2], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
        self.updated = updated
        for master in self.masters or []:
            master.grad = torch.zeros_like(master)
        self.run = torch.compile(self.model) if mode == "compile" else self.model
        self.tokens = torch.randint(0, options.vocab, (64, options.batch, options.length + 1),
                                    device=options.device)
        self.steps = 0

    def step(self):
        tokens = self.tokens[self.steps % len(self.tokens)]
        self.steps += 1
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            loss = self.run(tokens[:, :-1], tokens[:, 1:]).mean()
        loss.backward()
        if self.masters:
            torch._foreach_copy_([m.grad for m in self.masters], [w.grad for w in self.weights])
        torch.nn.utils.clip_grad_norm_(self.updated, 1.0)
        self.optimizer.step()
        if self.masters:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.masters)
        for weight in self.weights:
            weight.grad = None
        return loss.item()


def measure(options, variant):
    trainer = Trainer(options, variant)
    for _ in range(options.warmup):
        trainer.step()
    tokens, times = options.batch * options.length, []
    wall, cpu = time.perf_counter(), time.process_time()
    while len(times) < options.steps:
        if len(times) >= 3 and time.perf_counter() - wall > options.seconds:
            break
        start = time.perf_counter()
        loss = trainer.step()
        times.append(time.perf_counter() - start)
    return {
        "name": variant, "architecture": options.architecture, "normalizer": options.normalizer,
        "tokens_per_second": tokens / statistics.median(times), "best": tokens / min(times),
        "cpu_seconds": time.process_time() - cpu, "tokens": tokens * len(times),
        "steps": len(times), "loss": loss, "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
    }


def matmul_limit(options):
    """FLOP/s of the model's matmuls alone: y = x Wt, dx = dy W, dW = dyt x, each at its best of 5."""
    rows, result = options.batch * options.length, {"name": "matmul-limit"}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        flop = seconds = 0
        for inputs, outputs, count in matmul_shapes(options):
            x, w, dy = (torch.randn(shape).to(dtype) for shape in
                        ((rows, inputs), (outputs, inputs), (rows, outputs)))
            for product in (lambda: x @ w.T, lambda: dy @ w, lambda: dy.T @ x):
                best = float("inf")
                for _ in range(5):
                    start = time.perf_counter()
                    product()
                    best = min(best, time.perf_counter() - start)
                seconds += best * count
                flop += 2 * rows * inputs * outputs * count
        result[f"{name}_gflops"] = flop / seconds / 1e9
        result[f"{name}_tokens_per_second"] = flop / seconds / flop_per_token(options)
    result["flop_per_token"] = flop_per_token(options)
    return result


def seconds_of(device, run, budget):
    """The best round of those that fit into the budget, at least three; a round on a GPU is as many
    calls as it takes for the wait to count for nothing."""
    def round_of(calls):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / calls

    round_of(3)  # compiles, loads, warms up
    best, spent, rounds = round_of(1), 0.0, 0
    calls = max(1, min(1000, int(5e-3 / best))) if device == "cuda" else 1
    while rounds < 3 or spent < budget:
        seconds = round_of(calls)
        best, spent, rounds = min(best, seconds), spent + seconds * calls, rounds + 1
    return best


def attention_kinds(options, heads, length):
    """(name, function of q, k, v, its own parameters) of every attention to time."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def sdpa(backend):
        def run(q, k, v):
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, is_causal=True)
        return run

    backends = {"flash": SDPBackend.FLASH_ATTENTION}
    if options.device == "cuda":
        backends["cudnn"] = SDPBackend.CUDNN_ATTENTION
    for name, backend in backends.items():
        yield f"sdpa {name}", sdpa(backend), []

    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    flex = torch.compile(flex_attention, dynamic=False)
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length,
                             device=options.device)
    yield "flex softmax", lambda q, k, v: flex(q, k, v, block_mask=mask), []
    scale = torch.full((heads,), 0.43, device=options.device, requires_grad=True)
    logs = torch.log(torch.arange(1, length + 1, device=options.device, dtype=torch.float32))

    def ssmax(score, b, h, i, j):
        return score * scale[h] * logs[i]
    yield "flex ssmax", lambda q, k, v: flex(q, k, v, score_mod=ssmax, block_mask=mask), [scale]


def measure_attention(options, length, head_size):
    heads = max(1, options.attention_width // head_size)
    batch = max(1, options.attention_tokens // length)
    q, k, v, dout = (torch.randn(batch, heads, length, head_size, device=options.device,
                                 dtype=torch.bfloat16) for _ in range(4))
    flop = 2.0 * batch * heads * length * length * head_size
    # Dynamo compiles a function for eight shapes and then no more; a compiled backward takes the
    # memory of what it reads, so that it could not be called again.
    torch.compiler.reset()
    torch._functorch.config.donated_buffer = False
    for name, run, parameters in attention_kinds(options, heads, length):
        result = {"name": name, "length": length, "head_size": head_size, "heads": heads,
                  "batch": batch}
        try:
            # On a GPU as in training: one compilation less. On a CPU FlexAttention cannot train.
            for tensor in (q, k, v):
                tensor.requires_grad_(options.device == "cuda")
            seconds = seconds_of(options.device, lambda: run(q, k, v), options.attention_seconds)
            result.update(forward_seconds=seconds, forward_tflops=flop / seconds / 1e12)
            for tensor in (q, k, v):
                tensor.requires_grad_()
            out = run(q, k, v)
            seconds = seconds_of(
                options.device, lambda: torch.autograd.grad(out, [q, k, v, *parameters], dout,
                                                            retain_graph=True),
                options.attention_seconds)
            result.update(backward_seconds=seconds, backward_tflops=2.5 * flop / seconds / 1e12)
        except Exception as error:  # a backend that does not take the shape, by many kinds of error
            result["error"] = str(error).strip().splitlines()[0][:200]
        print(json.dumps(result), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="llama")
    parser.add_argument("--normalizer", default="softmax")
    for name, value in (("layers", 6), ("width", 384), ("heads", 6), ("length", 256), ("batch", 4),
                        ("vocab", 50257), ("steps", 30), ("warmup", 3), ("threads", 0)):
        parser.add_argument("--" + name, type=int, default=value, help=f"default {value}")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=60, help="per variant, after the warm-up")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, metavar="NAME")
    parser.add_argument("--matmul-limit", action="store_true")
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--head-sizes", type=int, nargs="+", default=[64, 128])
    for name, value in (("attention-width", 2048), ("attention-tokens", 16384)):
        parser.add_argument("--" + name, type=int, default=value, help=f"default {value}")
    parser.add_argument("--attention-seconds", type=float, default=0.1, help="each; default 0.1")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.device == "cuda":  # as its users set it; bf16 variants do not depend on it
        torch.backends.cuda.matmul.allow_tf32 = True
    if options.matmul_limit:
        print(json.dumps(matmul_limit(options)), flush=True)
        return
    if options.attention:
        for length in options.lengths:
            for head_size in options.head_sizes:
                measure_attention(options, length, head_size)
        return
    for variant in options.variants:
        print(json.dumps(measure(options, variant)), flush=True)


if __name__ == "__main__":
    main()
