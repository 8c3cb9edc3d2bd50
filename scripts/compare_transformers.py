#!/usr/bin/env python3
"""Exports of every kind of model in Hugging Face transformers against `ssmax` itself, and models that
transformers made, imported.

    python scripts/compare_transformers.py PROGRAM [--only NAME ...] [--lengths 1 100 4000] [--out F]

Needs torch, transformers and safetensors; without them it says so and exits with 0. For each case
random weights become a checkpoint (`ssmax import`), which is exported in fp32 and in bf16:

  fp32   largest difference of logits and largest KL divergence over all positions of contexts of
         the lengths given, and whether 32 greedy tokens of `generate` (with a cache) are the same
  bf16   the same for both sides in bf16, and the exported bf16 weights computed in fp32

`bf16`: SSMax computed in bf16 in three ways, each against fp32. `import`: GPT-2 and Llama models of transformers, logits the same, and ten training steps of `ssmax
train` against AdamW of PyTorch on the same batches. Prints tables in Markdown.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"compare_transformers.py: skipped, {error.name} is not installed")
    sys.exit(0)

from make_golden import CASES, NEGATIVE_SCALES, draw
from pytorch_model import LanguageModel
from token_shard import write_shard

LENGTH = 4096
GREEDY = 32
BASE = {
    "vocab_size": 257, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "hidden_size": 64, "intermediate_size": 96, "mlp": "swiglu", "norm": "rms_norm",
    "norm_eps": 1e-5, "position": {"kind": "rope", "theta": 10000.0}, "bias": False,
    "tie_word_embeddings": True, "normalizer": {"kind": "softmax"},
}
MORE = {
    "llama_bias_grouped": {"bias": True, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "gpt2_untied_no_bias": {"norm": "layer_norm", "mlp": "gelu", "position": {"kind": "learned"},
                            "bias": False, "tie_word_embeddings": False},
    "gpt2_ssmax": {"norm": "layer_norm", "mlp": "gelu", "position": {"kind": "learned"},
                   "bias": True, "normalizer": {"kind": "ssmax", "learn_scale": True}},
}


class Program:
    def __init__(self, path, folder):
        self.path, self.folder = str(pathlib.Path(path).resolve()), folder

    def run(self, *arguments):
        result = subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True,
                                cwd=self.folder, check=False)
        if result.returncode != 0:
            raise SystemExit(f"ssmax {' '.join(map(str, arguments))}\n{result.stdout}"
                             f"{result.stderr}")
        return result.stdout

    def logits(self, run, tokens, precision):
        """(T, V) of one sequence."""
        shard, out = self.folder / "tokens.bin", self.folder / "logits.safetensors"
        write_shard(shard, list(tokens) + [0])
        self.run("evaluate", run, "logits", "--data", shard, "--sequence-length", len(tokens),
                 "--out", out, f"--training.precision={precision}")
        return load_file(out)["logits"][0]


def own_folder(section, folder, seed):
    """A folder of our own form with random weights that are representable in bf16."""
    model = LanguageModel(section, LENGTH, torch.float32)
    generator = np.random.Generator(np.random.PCG64(seed))
    tensors = {}
    for name, parameter in model.named_parameters():
        value = draw(name, parameter.shape, generator).bfloat16().float()
        if "negative" in folder.name and name.endswith("normalizer.scale"):
            value = torch.tensor(NEGATIVE_SCALES)
        tensors[name] = value.contiguous()
    folder.mkdir()
    config = {"model_type": "ssmax", "max_position_embeddings": LENGTH, "dtype": "float32",
              **model.config}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def load(folder, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=True)
    return model.eval()


@torch.no_grad()
def foreign_logits(model, tokens):
    return model(torch.tensor(tokens)[None]).logits[0].float()


def difference(ours, theirs):
    """Largest difference of logits and largest KL divergence of a position."""
    p, q = ours.double().log_softmax(-1), theirs.double().log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    return (ours.double() - theirs.double()).abs().max().item(), kl.max().item()


def greedy_equal(program, run, model, tokens, precision):
    """Whether each of the tokens that `generate` took has our largest logit."""
    prompt = torch.tensor(tokens[:20])[None]
    with torch.no_grad():
        out = model.generate(prompt, max_new_tokens=GREEDY, do_sample=False, eos_token_id=None,
                             attention_mask=torch.ones_like(prompt), pad_token_id=0)[0]
    ours = program.logits(run, out[:-1].tolist(), precision).argmax(-1)
    return bool((ours[len(prompt[0]) - 1:] == out[len(prompt[0]):]).all())


def compare_case(name, section, program, lengths, seed, rows):
    folder = program.folder
    own_folder(section, folder / f"own_{name}", seed)
    run = folder / f"run_{name}"
    program.run("import", folder / f"own_{name}", "--out", run)
    generator = np.random.Generator(np.random.PCG64(seed + 1))
    tokens = generator.integers(0, section["vocab_size"], max(lengths)).tolist()
    for dtype, torch_dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        out = folder / f"export_{name}_{dtype}"
        program.run("export", run, "--out", out, "--dtype", dtype)
        model = load(out, torch_dtype)
        more = ()
        if dtype == "fp32":
            same = greedy_equal(program, run, model, tokens, dtype)
            more = ("yes" if same else "NO", left_padding_difference(model, tokens))
        for length in lengths:
            ours = program.logits(run, tokens[:length], dtype)
            row = difference(ours, foreign_logits(model, tokens[:length]))
            rows.append((name, type(model).__name__, dtype, length, *row, *more))
        if dtype == "bf16":  # the rounding of the weights and of a folded scale alone
            ours = program.logits(run, tokens[:100], "fp32")
            wide = load(out, torch.float32)
            rows.append((name, type(model).__name__, "bf16 weights in fp32", 100,
                         *difference(ours, foreign_logits(wide, tokens[:100]))))


@torch.no_grad()
def left_padding_difference(model, tokens):
    """Largest difference of the last logits of a row alone and of the row padded on the left."""
    text = torch.tensor(tokens[:30])[None]
    padded = torch.cat([torch.zeros(1, 7, dtype=torch.long), text], 1)
    mask = torch.cat([torch.zeros(1, 7, dtype=torch.long), torch.ones_like(text)], 1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    a = model(text).logits[0, -1]
    b = model(padded, attention_mask=mask, position_ids=positions).logits[0, -1]
    return (a - b).abs().max().item()


def compare_bf16(program, rows):
    """SSMax in bf16, each way of computing it against fp32: scores of a moderate size."""
    folder = program.folder
    section = {**BASE, "normalizer": {"kind": "ssmax", "learn_scale": True}}
    own_folder(section, folder / "own_bf16", 5)
    path = folder / "own_bf16" / "model.safetensors"
    tensors = load_file(path)
    for name in tensors:
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensors[name] = tensors[name] / 2  # exact in bf16 too
        elif name.endswith("normalizer.scale"):
            tensors[name] = tensors[name] / 4
    save_file(tensors, path, {"format": "pt"})
    run = folder / "run_bf16"
    program.run("import", folder / "own_bf16", "--out", run)
    tokens = np.random.Generator(np.random.PCG64(6)).integers(0, 257, 1000).tolist()
    exact = program.logits(run, tokens, "fp32").double().log_softmax(-1)

    def mean_kl(logits):
        return (exact.exp() * (exact - logits.double().log_softmax(-1))).sum(-1).mean().item()

    rows.append(("ssmax, bf16", mean_kl(program.logits(run, tokens, "bf16"))))
    for name, options in (("Ministral3ForCausalLM", ()), ("modeling_ssmax.py", ("--with-code",))):
        out = folder / f"bf16_{name}"
        program.run("export", run, "--out", out, "--dtype", "bf16", *options)
        for dtype in (torch.bfloat16, torch.float32):
            rows.append((f"{name}, {str(dtype).rsplit('.', 1)[1]} from bf16 weights",
                         mean_kl(foreign_logits(load(out, dtype), tokens))))


# --- models that transformers made -----------------------------------------------------------------

TRAIN = {"steps": 10, "batch": 4, "length": 32, "learning_rate": 1e-3}


def foreign_models():
    gpt2 = transformers.GPT2Config(vocab_size=257, n_positions=128, n_embd=64, n_layer=2, n_head=4,
                                   resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    llama = transformers.LlamaConfig(
        vocab_size=257, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        rms_norm_eps=1e-5)
    torch.manual_seed(7)
    yield "GPT2LMHeadModel", transformers.GPT2LMHeadModel(gpt2)
    yield "LlamaForCausalLM", transformers.LlamaForCausalLM(llama)


def train_pytorch(model, batches):
    """Losses before each step; AdamW with decay on matrices only, gradients clipped to norm 1."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=TRAIN["learning_rate"], betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for tokens in batches:
        logits = model(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def compare_import(name, model, program, rows):
    folder = program.folder
    model.eval().save_pretrained(folder / name)
    run = folder / f"run_{name}"
    program.run("import", folder / name, "--out", run)
    generator = np.random.Generator(np.random.PCG64(3))
    steps, batch, length = TRAIN["steps"], TRAIN["batch"], TRAIN["length"]
    tokens = generator.integers(0, 257, steps * batch * length + 1)
    theirs = foreign_logits(model, tokens[:100].tolist())
    logits = difference(program.logits(run, tokens[:100].tolist(), "fp32"), theirs)

    shard = folder / "train.bin"
    write_shard(shard, tokens)
    config = {"extends": str(run / "config.json"), "name": name}
    (folder / "train.json").write_text(json.dumps(config))
    out = folder / f"trained_{name}"
    program.run("train", folder / "train.json", "--out", out, f"--start.checkpoint={run}",
                f"--data.train={json.dumps([str(shard)])}", f"--data.sequence_length={length}",
                "--data.shuffle=false", f"--training.steps={steps}", "--training.precision=fp32",
                f"--training.batch_sequences={batch}", "--schedule.kind=constant",
                "--schedule.warmup_steps=0", f"--optimizer.learning_rate={TRAIN['learning_rate']}",
                "--optimizer.weight_decay=0.1", "--validation.every_steps=0")
    ours = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    ours = [line["loss"] for line in ours if line["event"] == "step"]
    starts = np.arange(steps * batch).reshape(steps, batch) * length
    batches = [torch.tensor(np.stack([tokens[s:s + length + 1] for s in row])) for row in starts]
    losses = train_pytorch(model.train(), batches)
    worst = max(abs(a - b) for a, b in zip(ours, losses, strict=True))
    rows.append((name, *logits, worst, ours[0], ours[-1]))


class Table:
    """A Markdown table that is printed row by row: cases may take minutes each."""

    def __init__(self, header, out):
        self.columns, self.out = len(header), out
        self.write("\n| " + " | ".join(header) + " |\n|" + "---|" * len(header))

    def append(self, row):
        cells = [f"{x:.2g}" if isinstance(x, float) else str(x) for x in row]
        cells += [""] * (self.columns - len(cells))
        self.write("| " + " | ".join(cells) + " |")

    def write(self, text):
        print(text, flush=True)
        if self.out:
            with open(self.out, "a", encoding="utf-8") as file:
                file.write(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program")
    parser.add_argument("--only", nargs="+", help="cases, `bf16` or `import`")
    parser.add_argument("--lengths", nargs="+", type=int, default=[1, 100, 4000])
    parser.add_argument("--out", help="append the tables to this file too")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    cases = {name: changes for name, changes in {**CASES, **MORE}.items()
             if not name.startswith("document_mask")}  # a mask of the data, not of the model
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.program, pathlib.Path(folder))
        chosen = {name: seed for seed, name in enumerate(cases)
                  if arguments.only is None or name in arguments.only}
        if chosen:
            rows = Table(["case", "class", "precision", "context", "largest logit difference",
                          "largest KL", "greedy equal", "left padding"], arguments.out)
        for name, seed in chosen.items():
            compare_case(name, {**BASE, **cases[name]}, program, arguments.lengths, 100 + seed, rows)
        if arguments.only is None or "bf16" in arguments.only:
            compare_bf16(program, Table(["SSMax, context of 1,000", "mean KL to fp32"],
                                        arguments.out))
        if arguments.only is None or "import" in arguments.only:
            rows = Table(["model", "largest logit difference", "largest KL",
                          "largest loss difference, 10 steps", "first loss", "last loss"],
                         arguments.out)
            for name, model in foreign_models():
                compare_import(name, model, program, rows)
    print(f"\ntransformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
