#!/usr/bin/env python3
"""CPU training speed of `ssmax`, PyTorch and llm.c, interleaved in one run.

    python scripts/compare_speed.py --ssmax build/cpu/ssmax --llmc LLMC --llmc-blas LLMC_BLAS \\
        --shapes 6x384 12x768 --rounds 3 --markdown speed.md --json speed.json

Every round runs every contestant once, for about --seconds after its warm-up; each round starts with
another contestant. The tables give the median over rounds of each run's median step, the best step of
all, and CPU seconds: on a shared machine the wall clock of one run says little, so ratios are taken
within a round and their median over the rounds is shown. A contestant whose program is not given is
left out. All train batches of 4 sequences of 256 random tokens, vocabulary 50,257, AdamW; ssmax and
PyTorch clip the gradient, llm.c does not.

llm.c: https://github.com/karpathy/llm.c, train_gpt2.c with `int T = 64` in main changed to 256 and
val_num_batches to 1, built as its Makefile does:
    gcc -Ofast -march=native -fopenmp -DOMP train_gpt2.c -lm -o LLMC
LLMC_BLAS is the same file with the bodies of matmul_forward and matmul_backward replaced by
cblas_sgemm, linked with an OpenMP build of OpenBLAS. This script writes the model and token files
that they read. Needs numpy; torch for the PyTorch rows.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

from token_shard import write_shard

try:
    import numpy as np
except ImportError:
    sys.exit("compare_speed.py: numpy is missing; install it with `pip install numpy`")
try:
    import pytorch_speed
except SystemExit as missing:
    sys.exit(f"compare_speed.py: {missing}")

HERE = pathlib.Path(__file__).resolve().parent
BATCH, TIME, VOCABULARY = 4, 256, 50257
STEP_TOKENS = BATCH * TIME
WARMUP = 3
SHAPES = {"6x384": (6, 384, 6), "12x768": (12, 768, 12), "2x64": (2, 64, 4)}  # layers, width, heads
# Without this glibc gives large blocks back to the system at every step and gets them back zeroed;
# it is what a user who tunes PyTorch on a CPU would set.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
               "MALLOC_TOP_PAD_": str(1 << 28)}


@dataclasses.dataclass
class Result:
    """One run of one contestant: seconds of its measured steps, CPU seconds and tokens of them."""
    seconds: list
    cpu: float
    tokens: int
    utilization: float = 0.0

    def speed(self):
        return STEP_TOKENS / statistics.median(self.seconds)

    def best(self):
        return STEP_TOKENS / min(self.seconds)

    def cpu_per_token(self):
        return self.cpu / self.tokens


class Failed(Exception):
    pass


# --- what the programs read --------------------------------------------------------------------------


def write_tokens(path, count=1_000_001):
    """A shard of random tokens, in the format that llm.c reads too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, np.random.default_rng(1).integers(0, VOCABULARY - 1, count).tolist())


def write_llmc_model(path, layers, width, heads):
    """A GPT-2 with random weights in llm.c's checkpoint format, version 3 (fp32)."""
    padded = (VOCABULARY + 127) // 128 * 128
    header = np.zeros(256, "<i4")
    header[:8] = 20240326, 3, TIME, VOCABULARY, layers, heads, width, padded
    generator, residual = np.random.default_rng(1), 0.02 / (2 * layers) ** 0.5
    # in the order of the file: elements, and either the value or the deviation
    tensors = [(padded * width, "normal", 0.02), (TIME * width, "normal", 0.02),
               (layers * width, "value", 1), (layers * width, "value", 0),
               (layers * 3 * width * width, "normal", 0.02), (layers * 3 * width, "value", 0),
               (layers * width * width, "normal", residual), (layers * width, "value", 0),
               (layers * width, "value", 1), (layers * width, "value", 0),
               (layers * 4 * width * width, "normal", 0.02), (layers * 4 * width, "value", 0),
               (layers * 4 * width * width, "normal", residual), (layers * width, "value", 0),
               (width, "value", 1), (width, "value", 0)]
    with open(path, "wb") as file:
        file.write(header.tobytes())
        for count, kind, number in tensors:
            if kind == "normal":
                data = generator.standard_normal(count, np.float32) * np.float32(number)
            else:
                data = np.full(count, number, "<f4")
            file.write(data.astype("<f4").tobytes())


def config_of(shape, architecture, normalizer, precision, steps, shard):
    layers, width, heads = SHAPES[shape]
    section = pytorch_speed.section_of(SimpleNamespace(
        vocab=VOCABULARY, layers=layers, width=width, heads=heads, architecture=architecture,
        normalizer=normalizer))
    return {
        "name": f"speed_{shape}", "seed": 1, "model": section,
        "data": {"train": [str(shard)], "validation": [str(shard)], "sequence_length": TIME},
        "optimizer": {"learning_rate": 6e-4, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8,
                      "weight_decay": 0.1, "clip_norm": 1.0},
        "schedule": {"kind": "constant", "warmup_steps": 10},
        "training": {"steps": steps, "batch_sequences": BATCH, "precision": precision,
                     "device": "cpu"},
        "checkpoint": {"every_steps": 1_000_000}, "validation": {"every_steps": 1_000_000},
    }


# --- one run of each kind ----------------------------------------------------------------------------


def cpu_seconds(pid):
    """User and system time of a process and all its threads so far."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment(options, extra=None):
    result = {**os.environ, **(extra or {})}
    if options.threads:
        result["OMP_NUM_THREADS"] = str(options.threads)
    return result


def run_ssmax(options, folder, shape, architecture, normalizer, precision, steps):
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    config = folder / "config.json"
    config.write_text(json.dumps(config_of(
        shape, architecture, normalizer, precision, steps, folder / "tokens.bin"), indent=2))
    command = [options.ssmax, "train", str(config), "--out", str(out),
               f"--training.steps={steps}", *options.ssmax_option]
    with open(folder / "ssmax.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(options))
        marks = {}  # step: CPU seconds when its line was seen
        metrics, seen = out / "metrics.jsonl", 0
        while process.poll() is None:
            time.sleep(0.02)
            try:
                done = metrics.read_bytes().count(b'"step"') if metrics.exists() else 0
            except OSError:
                done = 0
            if done != seen:
                seen, marks[done] = done, cpu_seconds(process.pid)
    if process.returncode != 0:
        tail = (folder / "ssmax.log").read_text(errors="replace")[-1500:]
        raise Failed(f"{' '.join(command)} exited with {process.returncode}:\n{tail}")
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    records = [r for r in records if r.get("event") == "step"][WARMUP:]
    if len(records) < 2:
        raise Failed(f"{metrics}: fewer than {WARMUP + 2} steps")
    seconds = [STEP_TOKENS / r["tokens_per_second"] for r in records]
    marks = {line: cpu for line, cpu in marks.items() if cpu is not None and line > WARMUP}
    if len(marks) >= 2:  # between two lines, so that neither the start nor the last save counts
        first, last = min(marks), max(marks)
        cpu, tokens = marks[last] - marks[first], (last - first) * STEP_TOKENS
    else:
        raise Failed(f"{metrics}: its lines came all at once; CPU seconds cannot be told")
    share = statistics.median(r.get("model_flops_utilization") or 0.0 for r in records)
    return Result(seconds, cpu, tokens, share)


def run_llmc(options, folder, binary):
    """Reads `step i: train loss x (took y ms)`; the first step, which allocates, is left out."""
    process = subprocess.Popen(["stdbuf", "-oL", str(pathlib.Path(binary).resolve())], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=environment(options))
    seconds, marks, tail, start = [], [], [], None
    try:
        for line in process.stdout:
            tail = [*tail[-20:], line]
            if match := re.match(r"step (\d+): .*\(took ([0-9.]+) ms\)", line):
                marks.append(cpu_seconds(process.pid))
                start = start or time.monotonic()
                if int(match[1]) > 0:
                    seconds.append(float(match[2]) / 1000)
                # after step 9 it evaluates and generates, which is not training
                enough = len(seconds) >= 2 and time.monotonic() - start > options.seconds
                if enough or int(match[1]) == 9:
                    break
    finally:
        process.kill()
        process.wait()
    if len(seconds) < 2:
        raise Failed(f"{binary} stopped early:\n{''.join(tail)}")
    return Result(seconds, marks[-1] - marks[0], STEP_TOKENS * len(seconds))


def run_pytorch(options, shape, architecture, normalizer, variant, keep_memory):
    layers, width, heads = SHAPES[shape]
    command = [options.python, str(HERE / "pytorch_speed.py"), "--architecture", architecture,
               "--normalizer", normalizer, "--layers", str(layers), "--width", str(width),
               "--heads", str(heads), "--length", str(TIME), "--batch", str(BATCH),
               "--vocab", str(VOCABULARY), "--steps", "1000", "--warmup", str(WARMUP),
               "--seconds", str(options.seconds), "--threads", str(options.threads)]
    command += ["--matmul-limit"] if variant == "matmul" else ["--variants", variant]
    done = subprocess.run(command, capture_output=True, text=True,
                          env=environment(options, KEEP_MEMORY if keep_memory else None))
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}:\n{done.stderr[-1500:]}")
    record = json.loads(done.stdout.splitlines()[-1])
    if variant == "matmul":
        return record
    median, best = (STEP_TOKENS / record[key] for key in ("tokens_per_second", "best"))
    return Result([best, median, median], record["cpu_seconds"], record["tokens"])


# --- the comparison ----------------------------------------------------------------------------------


def contestants(options, shape, folder):
    """{name: function that runs it once}, in the order of the table."""
    result = {}
    steps = {}

    def ssmax(architecture, normalizer, precision):
        def run():
            key = (architecture, normalizer, precision)
            done = run_ssmax(options, folder, shape, *key, steps.get(key, WARMUP + 6))
            # the first round is short and tells how many steps fill the time of the next
            fill = options.seconds * done.speed() / STEP_TOKENS
            steps[key] = WARMUP + int(min(max(fill, 6), 300))
            return done
        return run

    if options.ssmax:
        for precision in ("fp32", "bf16"):
            result[f"ssmax gpt2 softmax {precision}"] = ssmax("gpt2", "softmax", precision)
        for precision in ("fp32", "bf16"):
            for normalizer in ("softmax", "ssmax", "self_adjust"):
                name = f"ssmax llama {normalizer} {precision}"
                result[name] = ssmax("llama", normalizer, precision)
    if not options.no_pytorch:
        def pytorch(*arguments):
            return lambda: run_pytorch(options, shape, *arguments)
        for architecture in ("gpt2", "llama"):
            for variant in pytorch_speed.VARIANTS:
                name = f"pytorch {architecture} softmax {variant}"
                result[name] = pytorch(architecture, "softmax", variant, False)
            for variant in ("compile-fp32", "compile-bf16-autocast", "compile-bf16-master"):
                name = f"pytorch {architecture} softmax {variant} malloc-tuned"
                result[name] = pytorch(architecture, "softmax", variant, True)
        for normalizer in ("ssmax", "self_adjust"):
            name = f"pytorch llama {normalizer} compile-bf16-autocast malloc-tuned"
            result[name] = pytorch("llama", normalizer, "compile-bf16-autocast", True)
        result["matmul limit"] = pytorch("gpt2", "softmax", "matmul", True)
    for name, binary in (("llm.c gpt2 softmax fp32", options.llmc),
                         ("llm.c + BLAS gpt2 softmax fp32", options.llmc_blas)):
        if binary:
            result[name] = lambda binary=binary: run_llmc(options, folder, binary)
    return {name: run for name, run in result.items() if re.search(options.only, name)}


def prepare(shape, options, folder):
    write_tokens(folder / "tokens.bin")
    if options.llmc or options.llmc_blas:
        write_llmc_model(folder / "gpt2_124M.bin", *SHAPES[shape])
        data = folder / "dev/data/tinyshakespeare"
        for part in ("train", "val"):
            write_tokens(data / f"tiny_shakespeare_{part}.bin")


def median_ratio(rounds, ours, theirs, value):
    """Median over the rounds that have both of value(ours) / value(theirs)."""
    ratios = [value(r[ours]) / value(r[theirs]) for r in rounds if ours in r and theirs in r]
    return statistics.median(ratios) if ratios else None


def best_of(rounds, pattern):
    """The contestant that matches and has the largest median of medians."""
    speeds = {}
    for r in rounds:
        for name, result in r.items():
            if re.search(pattern, name) and isinstance(result, Result):
                speeds.setdefault(name, []).append(result.speed())
    return max(speeds, key=lambda name: statistics.median(speeds[name])) if speeds else None


def table(shape, rounds):
    names = list(dict.fromkeys(name for r in rounds for name in r))
    layers, width, heads = SHAPES[shape]
    limits = [r["matmul limit"] for r in rounds if "matmul limit" in r]
    lines = [f"### {layers} layers, width {width}, {heads} heads, T {TIME}, batch {BATCH}, "
             f"vocabulary {VOCABULARY:,}", "",
             "| program | tokens/s, median | tokens/s, best step | CPU ms per token | "
             "of the matmul limit |", "|---|---:|---:|---:|---:|"]
    for name in names:
        runs = [r[name] for r in rounds if isinstance(r.get(name), Result)]
        if not runs:
            continue
        speed = statistics.median(run.speed() for run in runs)
        cpu = statistics.median(run.cpu_per_token() for run in runs)
        share = ""
        if limits:
            key = "bf16_tokens_per_second" if "bf16" in name else "fp32_tokens_per_second"
            ratios = [r[name].speed() / r["matmul limit"][key] for r in rounds
                      if isinstance(r.get(name), Result) and "matmul limit" in r]
            share = f"{statistics.median(ratios):.0%}"
        lines.append(f"| {name} | {speed:,.0f} | {max(run.best() for run in runs):,.0f} | "
                     f"{1000 * cpu:.3f} | {share} |")
    for precision in ("fp32", "bf16") if limits else ():
        gflops = statistics.median(limit[f"{precision}_gflops"] for limit in limits)
        speed = statistics.median(limit[f"{precision}_tokens_per_second"] for limit in limits)
        lines.append(f"| matmul limit {precision} (oneDNN or MKL through PyTorch, {gflops:,.0f} "
                     f"GFLOP/s) | {speed:,.0f} | | | |")
    shares = [f"{name}: {statistics.median(r[name].utilization for r in rounds if name in r):.0%}"
              for name in names if any(getattr(r.get(name), "utilization", 0) for r in rounds)]
    if shares:
        lines += ["", "Share of its own measured matmul limit that ssmax reports: "
                  + ", ".join(shares) + "."]

    lines += ["", "| ratio | wall | CPU time | aim |", "|---|---:|---:|---|"]
    plain, tuned = "pytorch {} softmax (eager|compile)-[a-z0-9-]+$", "pytorch {} softmax .*"
    ours = {architecture: best_of(rounds, f"^ssmax {architecture} softmax")
            for architecture in ("gpt2", "llama")}
    rows = [(ours["gpt2"], "llm.c gpt2 softmax fp32", "≥ 20"),
            ("ssmax gpt2 softmax fp32", "llm.c gpt2 softmax fp32", ""),
            (ours["gpt2"], "llm.c + BLAS gpt2 softmax fp32", "≥ 6"),
            ("ssmax gpt2 softmax fp32", "llm.c + BLAS gpt2 softmax fp32", "")]
    for architecture in ("gpt2", "llama"):
        rows += [(ours[architecture], best_of(rounds, plain.format(architecture)), "≥ 1.3"),
                 (ours[architecture], best_of(rounds, tuned.format(architecture)), "≥ 1.3"),
                 (f"ssmax {architecture} softmax fp32",
                  best_of(rounds, f"pytorch {architecture} softmax .*fp32"), "")]
    rows = list(dict.fromkeys(rows))
    for a, b, aim in rows:
        wall = median_ratio(rounds, a, b, Result.speed)
        cpu = median_ratio(rounds, b, a, Result.cpu_per_token)
        if wall:
            lines.append(f"| {a} / {b} | {wall:.2f} | {cpu:.2f} | {aim} |")
    costs = []
    for precision in ("fp32", "bf16"):
        for normalizer, aim in (("ssmax", "1 %"), ("self_adjust", "10 %")):
            pair = (f"ssmax llama softmax {precision}", f"ssmax llama {normalizer} {precision}")
            wall = median_ratio(rounds, *pair, Result.speed)
            cpu = median_ratio(rounds, pair[1], pair[0], Result.cpu_per_token)
            if wall:
                costs.append(f"| {normalizer} over softmax, {precision} | {wall - 1:+.1%} | "
                             f"{cpu - 1:+.1%} | at most {aim} |")
    if costs:
        lines += ["", "| cost of a normalizer, whole step | wall | CPU time | aim |",
                  "|---|---:|---:|---|", *costs]
    return "\n".join(lines) + "\n"


def machine():
    model = "unknown processor"
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        model = re.search(r"model name\s*:\s*(.*)", text)[1]
        kinds = [k for k in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {k}" in text]
        model += f" ({', '.join(kinds)})"
    except (OSError, TypeError):
        pass
    return f"{model}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()} {platform.release()}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ssmax", metavar="PROGRAM")
    parser.add_argument("--ssmax-option", action="append", default=[], metavar="--SECTION.KEY=VALUE")
    parser.add_argument("--llmc", metavar="PROGRAM")
    parser.add_argument("--llmc-blas", metavar="PROGRAM")
    parser.add_argument("--no-pytorch", action="store_true")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=["6x384", "12x768"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", metavar="REGEX", help="contestants whose name matches")
    parser.add_argument("--folder", help="for files in between (default a temporary one)")
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()

    text = [f"{machine()}; {options.rounds} rounds, {options.threads} threads.\n"]
    raw = {}
    for shape in options.shapes:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="speed_") as name:
            folder = pathlib.Path(name)
            prepare(shape, options, folder)
            field, rounds, failed = contestants(options, shape, folder), [], set()
            if not field:
                sys.exit("compare_speed.py: nothing to compare; give --ssmax, --llmc or --python")
            for number in range(options.rounds):
                rounds.append({})
                names = list(field)
                shift = number * len(names) // options.rounds
                for contestant in names[shift:] + names[:shift]:
                    if contestant in failed:
                        continue
                    try:
                        result = field[contestant]()
                    except (Failed, OSError, ValueError, KeyError) as error:
                        print(f"{contestant} is left out: {error}", file=sys.stderr, flush=True)
                        failed.add(contestant)
                        continue
                    rounds[-1][contestant] = result
                    shown = f"{result.speed():9.1f} tokens/s  {1000 * result.cpu_per_token():8.3f} " \
                        "CPU ms/token" if isinstance(result, Result) else ""
                    print(f"{shape} round {number + 1}  {contestant:56s} {shown}",
                          file=sys.stderr, flush=True)
            # in the order of the field, whatever contestant a round started with
            rounds = [{name: r[name] for name in field if name in r} for r in rounds]
            text.append(table(shape, rounds))
            raw[shape] = [{n: dataclasses.asdict(r) if isinstance(r, Result) else r
                           for n, r in one.items()} for one in rounds]
        # after every shape, so that an interrupted run keeps what it has
        if options.markdown:
            options.markdown.write_text("\n".join(text), encoding="utf-8")
        if options.json:
            options.json.write_text(json.dumps({"machine": machine(), "shapes": raw}, indent=1))
    print("\n".join(text))


if __name__ == "__main__":
    main()
