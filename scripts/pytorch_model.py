"""The model family in PyTorch: a second, independent form of what `ssmax` computes.

It makes the golden numbers of tests/golden/model (scripts/make_golden.py) and is the opponent in the
speed comparison (scripts/pytorch_speed.py). Needs torch and nothing else.

Shapes: B batch, T time (also queries), K keys (K = T), H heads, G key-value heads, D head size,
C hidden size, F intermediate size, V vocabulary.

For query i let n be the number of keys it may see. z = q.k / sqrt(D), x = c(n) z + positional bias,
and every normalizer is a row scale c(n) and a weighting that turns the row x into weights.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

MODEL_DEFAULTS = {
    "vocab_size": 50257, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_key_value_heads": 0, "hidden_size": 768, "intermediate_size": 2048, "mlp": "swiglu",
    "norm": "rms_norm", "norm_eps": 1e-5, "position": {"kind": "rope", "theta": 10000.0},
    "bias": False, "tie_word_embeddings": False, "normalizer": {"kind": "softmax"},
}
SCALE_DEFAULTS = {
    "none": {},
    "ssmax": {"learn_scale": True, "bias": False, "initial_scale": 1.0, "initial_bias": 0.0},
}
NORMALIZER_DEFAULTS = {
    "softmax": {},
    "ssmax": SCALE_DEFAULTS["ssmax"],
    "learned_length": {"initial_scale": 1.0, "initial_bias": 0.0, "bias": True},
    "self_adjust": {"variant": "normalized", "scale": {"kind": "none"}},
    "sink": {"learned": True, "initial_sink": 0.0, "scale": {"kind": "none"}},
    "sigmoid": {},
    "softpick": {},
    "temperature": {"beta": 0.1, "original_length": 8192},
    "log_n": {"train_length": 1024},
    "entmax": {"alpha": 1.5},
}


def with_defaults(given, defaults, where):
    unknown = set(given) - set(defaults) - {"kind"}
    if unknown:
        raise ValueError(f"{where}: unknown key {sorted(unknown)[0]!r}; known are {sorted(defaults)}")
    return {**defaults, **given}


def resolve(section):
    """The `model` section of a config with every default filled in; unknown keys are errors."""
    config = with_defaults(section, MODEL_DEFAULTS, "model")
    config["num_key_value_heads"] = config["num_key_value_heads"] or config["num_attention_heads"]
    kind = config["normalizer"]["kind"]
    if kind not in NORMALIZER_DEFAULTS:
        raise ValueError(f"model.normalizer.kind: {kind!r} is none of {sorted(NORMALIZER_DEFAULTS)}")
    config["normalizer"] = with_defaults(
        config["normalizer"], NORMALIZER_DEFAULTS[kind], "model.normalizer")
    return config


# --- row scales: c, something that broadcasts to (B, H, T, 1), from n (B, 1, T, 1) ----------------


def temperature_scale(n, beta, original_length):
    """c = 1 + beta ln(1 + floor(position / original_length)); position n - 1 counts from 0."""
    return 1 + beta * torch.log1p(torch.floor((n - 1) / original_length))


def log_n_scale(n, train_length):
    """c = ln n / ln train_length beyond the training length, else 1."""
    return torch.where(n > train_length, n.log() / math.log(train_length), torch.ones_like(n))


# --- weightings: weights (B, H, T, K) from x (B, H, T, K) and visible (B, 1, T, K) ----------------


def softmax(x, visible):
    return x.masked_fill(~visible, -math.inf).softmax(-1)


def row_minimum(x, visible):
    """Smallest visible x of each row (B, H, T, 1); its gradient goes to the first key that has it."""
    masked = x.detach().masked_fill(~visible, math.inf)
    return x.gather(-1, first_true(masked == masked.amin(-1, keepdim=True)))


def row_maximum(x, visible):
    masked = x.detach().masked_fill(~visible, -math.inf)
    return x.gather(-1, first_true(masked == masked.amax(-1, keepdim=True)))


def first_true(mask):
    keys = torch.arange(mask.shape[-1], device=mask.device)
    return keys.masked_fill(~mask, mask.shape[-1]).amin(-1, keepdim=True)


def self_adjust(x, visible, variant):
    """x P, (x - min) P, (x - min) / (max - min) P, or the paper's normalized form; P = softmax(x)."""
    probability = softmax(x, visible)
    if variant == "plain":
        return x * probability
    low = row_minimum(x, visible)
    if variant == "shifted":
        return (x - low) * probability
    high = row_maximum(x, visible)
    if variant == "normalized":
        low = torch.where(low < 0, low, torch.zeros_like(low))
        high = torch.where(high > 0, high, torch.zeros_like(high))
    elif variant != "min_max":
        raise ValueError(f"self_adjust.variant: {variant!r} is unknown")
    spread = high - low
    spread = torch.where(spread > 1e-7, spread, torch.full_like(spread, 1e-7))
    return (x - low) / spread * probability


def softmax_with_sink(x, visible, sink):
    """One more logit a per head (H,) that takes weight and has no value."""
    column = sink[:, None, None].to(x.dtype).expand(*x.shape[:-1], 1)
    return torch.cat([x.masked_fill(~visible, -math.inf), column], -1).softmax(-1)[..., :-1]


def sigmoid(x, visible, n):
    return torch.sigmoid(x - n.log()) * visible


def softpick(x, visible):
    """relu(e^x - 1) / sum |e^x - 1|, both divided by e^m so that nothing overflows."""
    m = row_maximum(x, visible).detach().clamp(min=0)
    shifted = (torch.exp(x - m) - torch.exp(-m)).masked_fill(~visible, 0)
    total = shifted.abs().sum(-1, keepdim=True)
    return shifted.relu() / total.clamp(min=torch.finfo(x.dtype).tiny)


class Entmax(torch.autograd.Function):
    """w = [(alpha - 1) x - tau]_+ ^ (1 / (alpha - 1)) with tau such that the row sums to 1."""

    @staticmethod
    def forward(ctx, x, visible, alpha):
        power = 1 / (alpha - 1)
        z = ((alpha - 1) * x).double().masked_fill(~visible, -1e30)
        high = z.amax(-1, keepdim=True)
        low = high - 1
        for _ in range(100):
            middle = (low + high) / 2
            too_low = (z - middle).clamp(min=0).pow(power).sum(-1, keepdim=True) > 1
            low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
        w = (z - low).clamp(min=0).pow(power)
        w = (w / w.sum(-1, keepdim=True)).to(x.dtype)
        ctx.alpha = alpha
        ctx.save_for_backward(w)
        return w

    @staticmethod
    def backward(ctx, g):
        (w,) = ctx.saved_tensors
        slope = torch.where(w > 0, w.pow(2 - ctx.alpha), torch.zeros_like(w))
        mean = (slope * g).sum(-1, keepdim=True) / slope.sum(-1, keepdim=True)
        return slope * (g - mean), None, None


# --- the model -------------------------------------------------------------------------------------


class Normalizer(nn.Module):
    """A row scale and a weighting. Its parameters (scale, bias, sink) hold one number per head."""

    def __init__(self, options, heads):
        super().__init__()
        self.options = options
        self.kind = kind = options["kind"]
        scale = {"kind": "none"}  # the options of the row scale's own parameters
        if kind in ("ssmax", "learned_length"):
            scale = {"learn_scale": True, **options}
        elif "scale" in options:
            given = options["scale"]
            scale = with_defaults(given, SCALE_DEFAULTS[given["kind"]], "model.normalizer.scale")
        self.scale_kind = scale["kind"]

        def per_head(value):
            return nn.Parameter(torch.full((heads,), float(value)))

        self.scale = self.bias = self.sink = None
        if self.scale_kind != "none":
            self.initial_scale = scale["initial_scale"]
            self.scale = per_head(self.initial_scale) if scale["learn_scale"] else None
            self.bias = per_head(scale["initial_bias"]) if scale["bias"] else None
        if kind == "sink" and options["learned"]:
            self.sink = per_head(options["initial_sink"])

    def row_scale(self, n, length_scale):
        """c for every row, or None where it is one."""
        if self.scale_kind != "none":
            s = self.initial_scale if self.scale is None else self.scale[:, None, None]
            p = length_scale[n.long() - 1] if self.kind == "learned_length" else n.log()
            return s * p if self.bias is None else s * p + self.bias[:, None, None]
        if self.kind == "temperature":
            return temperature_scale(n, self.options["beta"], self.options["original_length"])
        if self.kind == "log_n":
            return log_n_scale(n, self.options["train_length"])
        return None

    def is_softmax(self):
        """Whether the weighting is plain softmax, so that a library's fused attention can be used."""
        return self.kind in ("softmax", "ssmax", "learned_length", "temperature", "log_n")

    def forward(self, x, visible, n):
        if self.is_softmax():
            return softmax(x, visible)
        if self.kind == "self_adjust":
            return self_adjust(x, visible, self.options["variant"])
        if self.kind == "sink":
            sink = self.sink
            if sink is None:
                sink = torch.full((x.shape[1],), float(self.options["initial_sink"]))
            return softmax_with_sink(x, visible, sink)
        if self.kind == "sigmoid":
            return sigmoid(x, visible, n)
        if self.kind == "softpick":
            return softpick(x, visible)
        return Entmax.apply(x, visible, self.options["alpha"])


class Rope:
    """Rotate-half rotary positions: the pair (i, i + D/2) turns by t theta^(-2i/D)."""

    def __init__(self, length, head_size, theta, dtype):
        exponent = torch.arange(0, head_size, 2, dtype=torch.float64) / head_size
        angle = torch.arange(length, dtype=torch.float64)[:, None] * theta ** -exponent
        angle = torch.cat([angle, angle], -1)  # (T, D)
        self.cos, self.sin = angle.cos().to(dtype), angle.sin().to(dtype)

    def __call__(self, x):  # (B, heads, T, D)
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
        time = x.shape[-2]
        return (x * self.cos[:time] + turned * self.sin[:time]).to(x.dtype)


def alibi_slopes(heads):
    """2^(-8/H), 2^(-16/H), ...; for H not a power of two, the next lower power's and every second of
    the next higher power's."""
    def of_power(count):
        return [2 ** (-8 * (h + 1) / count) for h in range(count)]
    power = 2 ** int(math.log2(heads))
    return of_power(power) + of_power(2 * power)[0::2][: heads - power]


class Attention(nn.Module):
    def __init__(self, config, length, dtype, fused):
        super().__init__()
        self.heads, self.groups = config["num_attention_heads"], config["num_key_value_heads"]
        width = config["hidden_size"]
        self.head_size = width // self.heads
        narrow, bias = self.groups * self.head_size, config["bias"]
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, narrow, bias=bias)
        self.v_proj = nn.Linear(width, narrow, bias=bias)
        self.o_proj = nn.Linear(width, width, bias=bias)
        self.normalizer = Normalizer(config["normalizer"], self.heads)
        position = config["position"]
        self.rope = self.alibi = None
        if position["kind"] == "rope":
            self.rope = Rope(length, self.head_size, position.get("theta", 10000.0), dtype)
        elif position["kind"] == "alibi":
            time = torch.arange(length)
            distance = (time[:, None] - time[None, :]).to(dtype)
            slopes = torch.tensor(alibi_slopes(self.heads), dtype=torch.float64).to(dtype)
            self.alibi = -slopes[:, None, None] * distance  # (H, T, K)
        self.fused = fused and self.normalizer.is_softmax() and self.alibi is None

    def forward(self, x, visible, n, length_scale):
        batch, time, width = x.shape

        def split(y, heads):  # (B, T, heads D) -> (B, heads, T, D)
            return y.view(batch, time, heads, self.head_size).transpose(1, 2)

        q = split(self.q_proj(x), self.heads)
        k = split(self.k_proj(x), self.groups)
        v = split(self.v_proj(x), self.groups)
        if self.rope is not None:
            q, k = self.rope(q), self.rope(k)
        c = self.normalizer.row_scale(n, length_scale)
        if self.fused:
            q = q if c is None else (q * c).to(q.dtype)
            out = F.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=self.groups != self.heads)
        else:
            repeats = self.heads // self.groups
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
            logits = q @ k.transpose(-1, -2)
            if logits.dtype == torch.bfloat16:  # the normalizer itself computes in fp32
                logits = logits.float()
            logits = logits / math.sqrt(self.head_size)
            logits = logits if c is None else c * logits
            if self.alibi is not None:
                logits = logits + self.alibi[:, :time, :time]
            out = self.normalizer(logits, visible, n).to(v.dtype) @ v
        return self.o_proj(out.transpose(1, 2).reshape(batch, time, width))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner, bias = config["hidden_size"], config["intermediate_size"], config["bias"]
        self.gated = config["mlp"] == "swiglu"
        if self.gated:
            self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x):
        if self.gated:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.down_proj(F.gelu(self.up_proj(x), approximate="tanh"))


def make_norm(config):
    width, eps = config["hidden_size"], config["norm_eps"]
    if config["norm"] == "rms_norm":
        return nn.RMSNorm(width, eps=eps)
    return nn.LayerNorm(width, eps=eps, bias=config["bias"])


class Block(nn.Module):
    def __init__(self, config, length, dtype, fused):
        super().__init__()
        self.input_layernorm = make_norm(config)
        self.self_attn = Attention(config, length, dtype, fused)
        self.post_attention_layernorm = make_norm(config)
        self.mlp = Mlp(config)

    def forward(self, x, visible, n, length_scale):
        x = x + self.self_attn(self.input_layernorm(x), visible, n, length_scale)
        return x + self.mlp(self.post_attention_layernorm(x))


class LengthScale(nn.Module):
    """p_n for n = 1 .. length, shared by all layers and heads; starts as ln n."""

    def __init__(self, length, dtype):
        super().__init__()
        n = torch.arange(1, length + 1, dtype=torch.float64)
        self.length_scale = nn.Parameter(n.log().to(dtype))


class Body(nn.Module):
    def __init__(self, config, length, dtype, fused):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        if config["position"]["kind"] == "learned":
            self.embed_positions = nn.Embedding(length, config["hidden_size"])
        self.layers = nn.ModuleList(
            Block(config, length, dtype, fused) for _ in range(config["num_hidden_layers"]))
        self.norm = make_norm(config)
        if config["normalizer"]["kind"] == "learned_length":
            self.normalizer = LengthScale(length, dtype)

    def forward(self, tokens, first_key):
        batch, time = tokens.shape
        x = self.embed_tokens(tokens)
        positions = torch.arange(time, device=tokens.device)
        if hasattr(self, "embed_positions"):
            x = x + self.embed_positions(positions)
        if first_key is None:
            first_key = torch.zeros_like(positions)[None]
        keys, queries = positions[None, None, None, :], positions[None, None, :, None]
        first = first_key[:, None, :, None].long()
        visible = (keys <= queries) & (keys >= first)  # (B or 1, 1, T, K)
        n = (queries - first + 1).to(x.dtype if x.dtype != torch.bfloat16 else torch.float32)
        length_scale = self.normalizer.length_scale if hasattr(self, "normalizer") else None
        for layer in self.layers:
            x = layer(x, visible, n, length_scale)
        return self.norm(x)


class LanguageModel(nn.Module):
    """`section` is a config's `model` section, `length` the largest sequence length.

    fused=True takes PyTorch's fused attention where the weighting is softmax (no document mask then).
    """

    def __init__(self, section, length, dtype=torch.float32, fused=False):
        super().__init__()
        self.config = config = resolve(section)
        self.fused = fused
        self.model = Body(config, length, dtype, fused)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        if config["tie_word_embeddings"]:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.to(dtype)

    def initialize(self):
        """Normal 0.02, residual projections divided by sqrt(2 layers), no bias."""
        residual = 1 / math.sqrt(2 * self.config["num_hidden_layers"])
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                ends_branch = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 * (residual if ends_branch else 1))
            elif name.endswith("_proj.bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens, targets, first_key=None):
        """Cross entropy in nats of every token, (B, T). tokens, targets (B, T); first_key (B, T) is
        the first key each query may see, for packed documents."""
        if self.fused and first_key is not None:
            raise ValueError("fused attention has no document mask; build the model with fused=False")
        logits = self.lm_head(self.model(tokens, first_key))
        if logits.dtype == torch.bfloat16:
            logits = logits.float()
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten().long(), reduction="none")
        return losses.view(targets.shape)
