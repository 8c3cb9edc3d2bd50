"""A GPT with an exchangeable attention normalizer, as ssmax trains it, for Hugging Face transformers.

Written by `ssmax export`; load it with

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

Needs torch and transformers (4.48 or newer). Generation with a cache, padded batches (left or right)
and 4-dimensional masks work; n, the number of keys a query sees, then counts real tokens only.

For a query that sees n keys: z = q.k / sqrt(D), x = c(n) z + positional bias; a normalizer is a row
scale c(n) and a weighting that turns the row x into weights. Shapes: B batch, T queries, K keys,
H heads, G key-value heads, D head size, C hidden size.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers import __version__ as transformers_version
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# What the cache is called in outputs; newer versions renamed it.
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
QUERY_BLOCK = 512  # queries whose scores are in memory at once
SOFTMAX_KINDS = ("softmax", "ssmax", "learned_length", "temperature", "log_n")


class SsmaxConfig(PretrainedConfig):
    """The keys of the section `model` of a run's config, as ssmax names them."""

    model_type = "ssmax"

    def __init__(self, vocab_size=50257, num_hidden_layers=12, num_attention_heads=12,
                 num_key_value_heads=12, hidden_size=768, intermediate_size=2048,
                 max_position_embeddings=1024, mlp="swiglu", norm="rms_norm", norm_eps=1e-5,
                 position=None, bias=False, initializer_range=0.02, normalizer=None,
                 use_cache=True, tie_word_embeddings=False, **kwargs):
        self.vocab_size = vocab_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.mlp = mlp
        self.norm = norm
        self.norm_eps = norm_eps
        self.position = position or {"kind": "rope", "theta": 10000.0}
        self.bias = bias
        self.initializer_range = initializer_range
        self.normalizer = normalizer or {"kind": "softmax"}
        self.use_cache = use_cache
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


# --- weightings: weights (B, H, T, K) from x (B, H, T, K) fp32 and visible (B, 1, T, K) ------------


def softmax(x, visible):
    return x.masked_fill(~visible, -math.inf).softmax(-1)


def self_adjust(x, visible, variant):
    """x P, (x - min) P, (x - min) / (max - min) P, or the paper's normalized form; P = softmax(x)."""
    probability = softmax(x, visible)
    if variant == "plain":
        return x * probability
    low = x.masked_fill(~visible, math.inf).amin(-1, keepdim=True)
    if variant == "shifted":
        return (x - low) * probability
    high = x.masked_fill(~visible, -math.inf).amax(-1, keepdim=True)
    if variant == "normalized":
        low, high = low.clamp(max=0), high.clamp(min=0)
    spread = high - low
    return torch.where(spread > 1e-7, (x - low) / spread, torch.zeros_like(x)) * probability


def softmax_with_sink(x, visible, sink):
    """One more logit a per head (H,) that takes weight and has no value."""
    column = sink[:, None, None].to(x.dtype).expand(*x.shape[:-1], 1)
    return torch.cat([x.masked_fill(~visible, -math.inf), column], -1).softmax(-1)[..., :-1]


def softpick(x, visible):
    """relu(e^x - 1) / sum |e^x - 1|, both divided by e^m so that nothing overflows."""
    m = x.masked_fill(~visible, -math.inf).amax(-1, keepdim=True).clamp(min=0)
    shifted = (torch.exp(x - m) - torch.exp(-m)).masked_fill(~visible, 0)
    total = shifted.abs().sum(-1, keepdim=True)
    return shifted.relu() / total.clamp(min=torch.finfo(x.dtype).tiny)


def entmax(x, visible, alpha):
    """w = [(alpha - 1) x - t]_+ ^ (1 / (alpha - 1)), t by bisection such that the row sums to 1. For
    inference: autograd does not see that t depends on x."""
    power = 1 / (alpha - 1)
    z = ((alpha - 1) * x).double().masked_fill(~visible, -1e30)
    with torch.no_grad():
        high = z.amax(-1, keepdim=True)
        low = high - 1
        for _ in range(40):  # 2^-40 of a row's range
            middle = (low + high) / 2
            too_low = (z - middle).clamp(min=0).pow(power).sum(-1, keepdim=True) > 1
            low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    weights = (z - low).clamp(min=0).pow(power)
    return (weights / weights.sum(-1, keepdim=True)).to(x.dtype)


class Normalizer(nn.Module):
    """A row scale and a weighting. Its parameters (scale, bias, sink) hold one number per head."""

    def __init__(self, config):
        super().__init__()
        options = config.normalizer
        self.options, self.kind = options, options["kind"]
        scale = {"kind": "none"}  # the options of the row scale's own parameters
        if self.kind in ("ssmax", "learned_length"):
            scale = {"learn_scale": True, **options}
        elif "scale" in options:
            scale = options["scale"]
        self.scale_kind = scale["kind"]

        def per_head(value):
            return nn.Parameter(torch.full((config.num_attention_heads,), float(value)))

        self.scale = self.bias = self.sink = None
        if self.scale_kind != "none":
            self.initial_scale = scale.get("initial_scale") or 1.0
            self.scale = per_head(self.initial_scale) if scale.get("learn_scale", True) else None
            self.bias = per_head(scale.get("initial_bias", 0.0)) if scale.get("bias") else None
        if self.kind == "sink" and options.get("learned", True):
            self.sink = per_head(options.get("initial_sink", 0.0))

    def row_scale(self, n, length_scale):
        """c (B, H or 1, T, 1) in fp32 from n (B, 1, T, 1) in float64; None where it is one."""
        options = self.options
        if self.scale_kind != "none":
            s = self.initial_scale if self.scale is None else self.scale.double()[:, None, None]
            c = s * (length_scale(n) if self.kind == "learned_length" else n.log())
            return (c if self.bias is None else c + self.bias.double()[:, None, None]).float()
        if self.kind == "temperature":
            steps = torch.floor((n - 1) / options["original_length"])
            return (1 + options["beta"] * torch.log1p(steps)).float()
        if self.kind == "log_n":
            longer = n > options["train_length"]
            c = torch.where(longer, n.log() / math.log(options["train_length"]), torch.ones_like(n))
            return c.float()
        return None

    def is_softmax(self):
        return self.kind in SOFTMAX_KINDS

    def forward(self, x, visible, n):
        if self.is_softmax():
            return softmax(x, visible)
        if self.kind == "self_adjust":
            return self_adjust(x, visible, self.options["variant"])
        if self.kind == "sink":
            sink = self.sink
            if sink is None:
                sink = torch.full((x.shape[1],), float(self.options["initial_sink"]),
                                  device=x.device)
            return softmax_with_sink(x, visible, sink)
        if self.kind == "sigmoid":
            return torch.sigmoid(x - n.log().float()) * visible
        if self.kind == "softpick":
            return softpick(x, visible)
        if self.kind == "entmax":
            return entmax(x, visible, self.options["alpha"])
        raise ValueError(f"config.normalizer.kind: {self.kind!r} is unknown to this file")


class LengthScale(nn.Module):
    """p_n for n = 1 .. N, shared by all layers and heads; a1 ln n + a2 fitted to it beyond N."""

    def __init__(self, config):
        super().__init__()
        n = torch.arange(1, config.max_position_embeddings + 1, dtype=torch.float64)
        self.length_scale = nn.Parameter(n.log().float())

    def forward(self, n):  # (B, 1, T, 1) float64
        p = self.length_scale.double()
        logs = torch.arange(1, p.shape[0] + 1, dtype=torch.float64, device=p.device).log()
        centered = logs - logs.mean()
        variance = (centered * centered).sum()
        slope = (centered * (p - p.mean())).sum() / variance if variance > 0 else 0.0
        beyond = slope * (n.log() - logs.mean()) + p.mean()
        inside = p[(n.long() - 1).clamp(max=p.shape[0] - 1)]
        return torch.where(n <= p.shape[0], inside, beyond)


# --- positions -------------------------------------------------------------------------------------


def rope_angles(config, positions, dtype):
    """Cosines and sines (B, 1, T, D) of rotate-half RoPE; positions (B, T)."""
    size = config.hidden_size // config.num_attention_heads
    exponent = torch.arange(0, size, 2, dtype=torch.float64, device=positions.device) / size
    angle = positions[..., None].double() * config.position["theta"] ** -exponent
    angle = torch.cat([angle, angle], -1)[:, None]
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, cos, sin):  # (B, heads, T, D)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def alibi_slopes(heads):
    """2^(-8/H), 2^(-16/H), ...; for H not a power of two, the next lower power's and every second of
    the next higher power's."""
    def of_power(count):
        return [2 ** (-8 * (h + 1) / count) for h in range(count)]
    power = 2 ** int(math.log2(heads))
    return of_power(power) + of_power(2 * power)[0::2][: heads - power]


class Context:
    """What all layers share in one forward: who sees whom, and where everyone stands."""

    def __init__(self, model, mask, position_ids, batch, time, past, dtype, device):
        config = model.config
        self.slots = torch.arange(past, past + time, device=device)  # (T,), of the queries
        self.visible = visible_keys(mask, batch, self.slots, past + time)  # (B, 1, T, K)
        self.n = self.visible.sum(-1, keepdim=True).double()  # (B, 1, T, 1)
        if position_ids is None:
            position_ids = self.n[:, 0, :, 0].long() - 1
        self.positions = position_ids.expand(batch, time)  # (B, T)
        kind = config.position["kind"]
        self.angles = self.alibi = self.length_scale = None
        if kind == "rope":
            self.angles = rope_angles(config, self.positions, dtype)
        elif kind == "alibi":
            slopes = torch.tensor(alibi_slopes(config.num_attention_heads), device=device)
            self.alibi = slopes[:, None, None]  # (H, 1, 1)
        if config.normalizer["kind"] == "learned_length":
            self.length_scale = model.normalizer


def visible_keys(mask, batch, slots, keys):
    """(B, 1, T, K) bool from a mask that is None, (B, K'), or (B, 1, T, K') of bool or additive. A
    query that stands on padding sees itself, so that no row is empty."""
    key = torch.arange(keys, device=slots.device)
    causal = (key[None, :] <= slots[:, None])[None, None]
    if mask is None:
        return causal.expand(batch, 1, slots.shape[0], keys)
    if mask.dim() == 4:
        seen = mask if mask.dtype == torch.bool else mask > -1
        seen = seen[:, :1, -slots.shape[0]:, :keys]
    else:
        seen = mask.bool()[:, None, None, :keys]
    if seen.shape[-1] < keys:
        seen = F.pad(seen, (0, keys - seen.shape[-1]), value=True)
    return (causal & seen) | (key[None, :] == slots[:, None])


# --- the model -------------------------------------------------------------------------------------


def exact_attention(module, q, k, v, c, context):
    """Attention (B, H, T, D) with fp32 scores and c folded into them, QUERY_BLOCK rows at a time."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    key = torch.arange(k.shape[2], device=q.device)
    outputs = []
    for first in range(0, q.shape[2], QUERY_BLOCK):
        rows = slice(first, min(first + QUERY_BLOCK, q.shape[2]))
        x = (q[:, :, rows].float() @ k.float().transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if c is not None:
            x = c[:, :, rows] * x
        if context.alibi is not None:
            x = x - context.alibi * (context.slots[rows, None] - key)
        weights = module.normalizer(x, context.visible[:, :, rows], context.n[:, :, rows])
        outputs.append(weights.to(v.dtype) @ v)
    return torch.cat(outputs, 2)


class Attention(nn.Module):
    is_causal = False  # the mask says all

    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.num_key_value_groups = self.heads // self.groups  # read by attention functions
        width = config.hidden_size
        self.head_dim = width // self.heads
        narrow = self.groups * self.head_dim
        self.q_proj = nn.Linear(width, width, bias=config.bias)
        self.k_proj = nn.Linear(width, narrow, bias=config.bias)
        self.v_proj = nn.Linear(width, narrow, bias=config.bias)
        self.o_proj = nn.Linear(width, width, bias=config.bias)
        self.normalizer = Normalizer(config)

    def attend(self, q, k, v, context):
        """Where the weighting is softmax a library's attention takes c into its queries. In 16 bits
        only without c: rounding c q loses a factor of four to twelve in accuracy of attention."""
        c = self.normalizer.row_scale(context.n, context.length_scale)
        implementation = self.config._attn_implementation
        library = (implementation not in (None, "eager") and context.alibi is None
                   and self.normalizer.is_softmax() and (c is None or q.dtype == torch.float32))
        if not library:
            return exact_attention(self, q, k, v, c, context).transpose(1, 2)
        function = ALL_ATTENTION_FUNCTIONS[implementation]
        return function(self, q if c is None else c * q, k, v, context.visible,
                        scaling=self.head_dim ** -0.5, dropout=0.0)[0]

    def forward(self, x, cache, context):
        batch, time, width = x.shape

        def split(y, heads):  # (B, T, heads D) -> (B, heads, T, D)
            return y.view(batch, time, heads, self.head_dim).transpose(1, 2)

        q = split(self.q_proj(x), self.heads)
        k = split(self.k_proj(x), self.groups)
        v = split(self.v_proj(x), self.groups)
        if context.angles is not None:
            q, k = rotate(q, *context.angles), rotate(k, *context.angles)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
            keys = context.visible.shape[-1]
            k, v = k[:, :, :keys], v[:, :, :keys]  # a static cache has slots to come
        return self.o_proj(self.attend(q, k, v, context).reshape(batch, time, width))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.bias
        self.gated = config.mlp == "swiglu"
        if self.gated:
            self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x):
        if self.gated:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.down_proj(F.gelu(self.up_proj(x), approximate="tanh"))


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight.float() * wide).to(x.dtype)


def make_norm(config):
    if config.norm == "rms_norm":
        return RmsNorm(config.hidden_size, config.norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.bias)


class Block(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.input_layernorm = make_norm(config)
        self.self_attn = Attention(config, layer_idx)
        self.post_attention_layernorm = make_norm(config)
        self.mlp = Mlp(config)

    def forward(self, x, cache, context):
        x = x + self.self_attn(self.input_layernorm(x), cache, context)
        return x + self.mlp(self.post_attention_layernorm(x))


class SsmaxPreTrainedModel(PreTrainedModel):
    config_class = SsmaxConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]
    _supports_sdpa = True
    _supports_attention_backend = True
    # A table p_n or a scale of 16 bits would change every row.
    _keep_in_fp32_modules = ["normalizer"]
    _keep_in_fp32_modules_strict = ["normalizer"]

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(0.0, self.config.initializer_range)
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()


class SsmaxModel(SsmaxPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.position["kind"] == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = make_norm(config)
        if config.normalizer["kind"] == "learned_length":
            self.normalizer = LengthScale(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def forward(self, x, mask, position_ids, cache):
        """Hidden states (B, T, C) from embeddings (B, T, C)."""
        batch, time, _ = x.shape
        past = int(cache.get_seq_length()) if cache is not None else 0
        context = Context(self, mask, position_ids, batch, time, past, x.dtype, x.device)
        if hasattr(self, "embed_positions"):
            x = x + self.embed_positions(context.positions)
        for layer in self.layers:
            x = layer(x, cache, context)
        return self.norm(x)


class SsmaxForCausalLM(SsmaxPreTrainedModel, GenerationMixin):
    _tied_weights_keys = ({"lm_head.weight": "model.embed_tokens.weight"}
                          if int(transformers_version.split(".")[0]) >= 5 else ["lm_head.weight"])

    def __init__(self, config):
        super().__init__(config)
        self.model = SsmaxModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                cache=None, inputs_embeds=None, labels=None, use_cache=None, logits_to_keep=0,
                **kwargs):
        cache = cache if cache is not None else past_key_values
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache()
        x = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        x = self.model(x, attention_mask, position_ids, cache)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(x[:, keep])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: cache})
