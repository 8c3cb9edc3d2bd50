#!/usr/bin/env python3
"""Draws the curves of several runs, each picture as PNG and SVG.

    plot.py loss RUN... --out NAME            training and validation loss by step, from metrics.jsonl
    plot.py against FOLDER FOLDER... --out NAME
                                              runs of the same names in each FOLDER: their losses laid
                                              over each other, beneath them how far those of the
                                              other folders are from those of the first
    plot.py positions FILE... --out NAME      loss by position, from `ssmax evaluate positions --json`
    plot.py length-scale MODEL... --out NAME  p_n against n with its fit a1 ln n + a2, and the learned
                                              s of every layer and head, from model.safetensors
    plot.py learned-length FILE... --out NAME p_n and its fit, from `ssmax evaluate learned-length`
    plot.py needle FILE... --out NAME         heat maps, from `ssmax evaluate needle --json`
    plot.py heads FILE... --out NAME          the needle scores of the 25 strongest heads, from
                                              `ssmax evaluate attention --json`, first trial
    plot.py trials FILE... --out NAME         the strongest head's score in every trial, from the same
    plot.py fading FILE... --out NAME         maximum and entropy of attention rows against n, from
                                              `ssmax evaluate fading --json`

RUN is a run's folder or its metrics.jsonl, MODEL a run's folder, a checkpoint's or model.safetensors.
Runs of one name are called by their folders or files. Needs matplotlib (which brings numpy and Pillow).
"""

import argparse
import json
import math
import pathlib
import re
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from PIL import Image
except ImportError as missing:
    sys.exit(f"plot.py: {missing.name} is missing; install it with `sudo apt-get install "
             "python3-matplotlib` or `pip install matplotlib`")

# Okabe and Ito: told apart with every common form of color blindness. Yellow is left out (too pale
# on white); line styles repeat the distinction once the colors are used up.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]
STYLES = ["-", (0, (5, 1.5)), (0, (1.5, 1.2))]
STYLE = {
    "font.size": 12, "axes.titlesize": 14, "axes.labelsize": 13, "figure.dpi": 100,
    "savefig.dpi": 160, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#E3E3E3", "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 1.8,
    "svg.fonttype": "none", "svg.hashsalt": "ssmax", "path.simplify": True,
}


class UserError(Exception):
    pass


def read_text(path):
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def told_apart(names, paths):
    """The names; those that several share become the shortest ends of their folders' or files'
    paths that differ, as `ssmax evaluate` calls them."""
    def parts(path):
        path = pathlib.Path(path).resolve()
        return (path if path.is_dir() else (
            path.parent if path.name == "metrics.jsonl" else path.with_suffix(""))).parts[1:]

    result = list(names)
    for name in {name for name in names if names.count(name) > 1}:
        indices = [index for index, other in enumerate(names) if other == name]
        all_parts = [parts(paths[index]) for index in indices]
        tails = [["_".join(one[-count:]) for one in all_parts]
                 for count in range(1, 1 + max(map(len, all_parts)))]
        apart = next((tail for tail in tails if len(set(tail)) == len(tail)), tails[0])
        for index, tail in zip(indices, apart):
            result[index] = tail
    return result


def look(index):
    return {"color": COLORS[index % len(COLORS)],
            "linestyle": STYLES[(index // len(COLORS)) % len(STYLES)]}


def save(figure, name):
    stem = name[:-4] if name.endswith((".png", ".svg")) else name
    pathlib.Path(stem).parent.mkdir(parents=True, exist_ok=True)
    # no date in the SVG: the same numbers give the same file
    figure.savefig(stem + ".png")
    # 256 colors show all that is drawn here and take a third of the bytes
    with Image.open(stem + ".png") as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stem + ".png", optimize=True)
    figure.savefig(stem + ".svg", metadata={"Date": None})
    print(f"wrote {stem}.png and {stem}.svg")


def label_ends(axes, ends):
    """Writes each curve's name beside its last point, moved apart where they would overlap.

    ends: list of (y, text, color) in data units; the labels stand right of the axes.
    """
    figure = axes.figure
    figure.canvas.draw()
    height = 15.0 * figure.dpi / 72  # one line of text in pixels
    box = axes.get_window_extent()
    blocks = []  # labels that touch, as [center in pixels, [labels from low to high]]
    for y, text, color in sorted(ends, key=lambda end: end[0]):
        wanted = axes.transData.transform((axes.get_xlim()[0], y))[1]
        blocks.append([wanted, [(text, color)]])
        while len(blocks) > 1:
            (low, lower), (high, upper) = blocks[-2:]
            if high - low >= height * (len(lower) + len(upper)) / 2:
                break
            together = len(lower) + len(upper)
            blocks[-2:] = [[(low * len(lower) + high * len(upper)) / together, lower + upper]]
    placed = [(center + (i - (len(labels) - 1) / 2) * height, *label)
              for center, labels in blocks for i, label in enumerate(labels)]
    for pixel, text, color in placed:
        axes.annotate(text, (1, (pixel - box.y0) / box.height), xycoords="axes fraction",
                      xytext=(6, 0), textcoords="offset points", color=color, va="center",
                      annotation_clip=False, fontsize=11)


# --- loss by step ------------------------------------------------------------------------------------


def read_run(path):
    """(name, steps, losses, validation steps, validation losses) of one run."""
    path = pathlib.Path(path)
    folder = path if path.is_dir() else path.parent
    metrics = folder / "metrics.jsonl" if path.is_dir() else path
    name = folder.resolve().name
    if (folder / "config.json").is_file():
        name = json.loads(read_text(folder / "config.json")).get("name") or name
    curves = {"step": {}, "validation": {}}
    for number, line in enumerate(read_text(metrics).splitlines(), 1):
        try:
            record = json.loads(line)
            if record.get("event") in curves and record.get("loss") is not None:
                curves[record["event"]][int(record["step"])] = float(record["loss"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{metrics}:{number}: not a metrics line "
                            f"({type(error).__name__}: {error})") from error
    if not curves["step"]:
        raise UserError(f"{metrics}: no line with \"event\": \"step\"; has the run started?")
    points = [np.array(sorted(curve.items())).reshape(-1, 2) for curve in curves.values()]
    return name, points[0], points[1]


def running_mean(values, window):
    """Centered mean over `window` values, narrower at the two ends; not finite values are left out."""
    finite = np.isfinite(values)
    sums = np.concatenate([[0], np.cumsum(np.where(finite, values, 0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    reach = np.minimum(np.minimum(np.arange(len(values)), np.arange(len(values))[::-1]), window // 2)
    first, last = np.arange(len(values)) - reach, np.arange(len(values)) + reach + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[last] - sums[first]) / (counts[last] - counts[first])


def plot_loss(arguments):
    runs = [read_run(path) for path in arguments.inputs]
    figure, axes = plt.subplots(figsize=(9.5, 5.6), layout="constrained")
    ends, late = [], []
    print(f"{'run':28s} {'steps':>7s} {'training loss':>14s} {'validation':>11s}")
    names = told_apart([name for name, _, _ in runs], arguments.inputs)
    for index, (name, (_, training, validation)) in enumerate(zip(names, runs)):
        style = look(index)
        window = arguments.smooth or max(1, len(training) // 60)
        smooth = running_mean(training[:, 1], window)
        if window > 1:
            axes.plot(training[:, 0], training[:, 1], color=style["color"], alpha=0.18, linewidth=0.7)
        axes.plot(training[:, 0], smooth, **style)
        if len(validation):
            axes.plot(validation[:, 0], validation[:, 1], color=style["color"], linestyle=":",
                      linewidth=1.2, marker="o", markersize=4.5, markerfacecolor="white")
        late += [smooth[len(smooth) // 10:], validation[len(validation) // 10:, 1]]
        ends.append((smooth[-1], name, style["color"]))
        tail = training[-max(1, len(training) // 20):, 1]
        shown = f"{validation[-1, 1]:11.4f}" if len(validation) else f"{'-':>11s}"
        print(f"{name:28s} {int(training[-1, 0]):7d} {np.nanmean(tail):14.4f} {shown}")
    late = np.concatenate(late)
    late = late[np.isfinite(late)]
    if len(late):  # the first steps' fall would flatten everything that follows
        margin = 0.06 * (late.max() - late.min()) + 1e-6
        axes.set_ylim(late.min() - margin, late.max() + margin)
    if arguments.log_x:
        axes.set_xscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    has_validation = any(len(validation) for _, _, validation in runs)
    axes.set_title(arguments.title or ("Training loss (lines) and validation loss (circles)"
                                       if has_validation else "Training loss"), loc="left")
    label_ends(axes, ends)
    save(figure, arguments.out)


def plot_against(arguments):
    folders = [pathlib.Path(given) for given in arguments.inputs]
    if len(folders) < 2:
        raise UserError("against: expected at least two folders of runs")
    names = sorted(path.parent.name for path in folders[0].glob("*/metrics.jsonl"))
    if not names:
        raise UserError(f"{folders[0]}: no folder in it holds a metrics.jsonl")
    figure, grid = plt.subplots(2, len(names), figsize=(3.4 * len(names) + 0.6, 6), squeeze=False,
                                layout="constrained", sharex=True, sharey="row", height_ratios=(3, 2))
    for name, (losses, gaps) in zip(names, grid.T):
        _, first, _ = read_run(folders[0] / name)
        losses.plot(*first.T, color="#BBBBBB", linewidth=5, label=folders[0].name)
        for index, folder in enumerate(folders[1:]):
            _, other, _ = read_run(folder / name)
            _, here, there = np.intersect1d(first[:, 0], other[:, 0], return_indices=True)
            style = {**look(index), "label": folder.name, "linewidth": 1.3,
                     "zorder": 3 - index / 100}  # the first other folder's above those that follow
            losses.plot(*other.T, **style)
            gaps.plot(first[here, 0], other[there, 1] - first[here, 1], **style)
        losses.set_title(name, loc="left")
        gaps.set_xlabel("step")
    grid[0][0].set_ylabel("loss (nats per token)")
    grid[1][0].set_ylabel(f"minus {folders[0].name}")
    grid[0][-1].legend(frameon=False, fontsize=10)
    if arguments.title:
        figure.suptitle(arguments.title, x=0.01, ha="left")
    save(figure, arguments.out)


# --- loss by position --------------------------------------------------------------------------------


def read_positions(path):
    path = pathlib.Path(path)
    try:
        record = json.loads(read_text(path))
        mean = np.array([math.nan if v is None else v for v in record["mean"]], dtype=float)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a result of `ssmax evaluate positions --json` "
                        f"({type(error).__name__}: {error})") from error
    if mean.ndim != 1 or not len(mean):
        raise UserError(f"{path}: \"mean\" must be a list of one number per position")
    return record.get("name") or path.stem, mean, record.get("train_length"), record.get("bands", [])


def log_bins(mean, per_octave):
    """Mean loss in bins that grow with the position: (context size at the bin's middle, loss)."""
    context = np.arange(1, len(mean) + 1)
    index = np.floor(np.log2(context) * per_octave + 1e-9).astype(int)
    if len(mean) > 1 and (index == index[-1]).sum() * 2 < (index == index[-1] - 1).sum():
        index[index == index[-1]] -= 1  # too few positions for a bin of their own
    finite = np.isfinite(mean)
    counts = np.bincount(index[finite])
    keep = counts > 0
    with np.errstate(invalid="ignore"):
        x = np.exp(np.bincount(index[finite], np.log(context[finite])) / np.maximum(counts, 1))
        y = np.bincount(index[finite], mean[finite]) / np.maximum(counts, 1)
    return x[keep], y[keep]


def plot_positions(arguments):
    curves = [read_positions(path) for path in arguments.inputs]
    figure, axes = plt.subplots(figsize=(9.5, 5.6), layout="constrained")
    lengths = sorted({length for _, _, length, _ in curves if length})
    multiples = [1, 2, 4, 8, 16]
    ends, shown = [], []
    names = told_apart([name for name, _, _, _ in curves], arguments.inputs)
    for index, (name, (_, mean, length, bands)) in enumerate(zip(names, curves)):
        style = look(index)
        if bands:  # 95 % interval over sequences
            middle = [math.sqrt((band["begin"] + 1) * band["end"]) for band in bands]
            axes.fill_between(middle, [band["low"] for band in bands],
                              [band["high"] for band in bands], color=style["color"], alpha=0.10,
                              linewidth=0)
        x, y = log_bins(mean, arguments.bins_per_octave)
        axes.plot(x, y, marker="o", markersize=2.5, **style)
        ends.append((y[-1], name, style["color"]))
        shown.append(y[x >= (length or len(mean)) / 16])
        if length:
            parts, start = [], 0
            for multiple in multiples:
                stop = min(multiple * length, len(mean))
                if stop > start:
                    parts.append(f"{start}-{stop}: {np.nanmean(mean[start:stop]):.4f}")
                start = stop
            print(f"{name:28s} " + "   ".join(parts))
    shown = np.concatenate(shown)
    shown = shown[np.isfinite(shown)]
    if len(shown):  # the first tokens, which have no context, are left to run out of the picture
        top = shown.max() if arguments.max_loss is None else arguments.max_loss
        axes.set_ylim(shown.min() - 0.05 * (top - shown.min()), top + 0.05 * (top - shown.min()))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.set_xlabel("context size n (tokens, logarithmic)")
    axes.set_ylabel("loss (nats per token)")
    axes.set_title(arguments.title or "Loss by position", loc="left")
    for length in lengths:
        axes.axvline(length, color="#555555", linewidth=1.1, linestyle="--", zorder=1)
        axes.annotate(f"training length {length:,}", (length, 1), rotation=90,
                      xycoords=axes.get_xaxis_transform(), xytext=(-4, -4), color="#555555",
                      textcoords="offset points", ha="right", va="top", fontsize=10)
    label_ends(axes, ends)
    save(figure, arguments.out)


# --- the learned p_n and s ---------------------------------------------------------------------------


def read_safetensors(path, wanted):
    """{name: float64 array} of the tensors for whose name wanted(name) holds."""
    kinds = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2"}
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            start, tensors = file.tell(), {}
            for name, entry in header.items():
                if name != "__metadata__" and wanted(name):
                    begin, end = entry["data_offsets"]
                    file.seek(start + begin)
                    data = np.frombuffer(file.read(end - begin), kinds[entry["dtype"]])
                    if entry["dtype"] == "BF16":  # the upper half of a float32
                        data = (data.astype("<u4") << 16).view("<f4")
                    tensors[name] = data.astype(float).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, AttributeError, MemoryError, OverflowError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    return tensors


def fit_logarithm(p):
    """Least squares a1 ln n + a2 over n = 1 .. N: (a1, a2, R squared)."""
    logarithm = np.log(np.arange(1, len(p) + 1))
    basis = np.stack([logarithm, np.ones(len(p))], 1)
    (a1, a2), *_ = np.linalg.lstsq(basis, p, rcond=None)
    residual = p - basis @ [a1, a2]
    total = ((p - p.mean()) ** 2).sum()
    return a1, a2, 1 - (residual ** 2).sum() / total if total else math.nan


def plot_length_scale(arguments):
    models = []
    for given in arguments.inputs:
        path = pathlib.Path(given)
        steps = sorted(path.glob("checkpoints/step_" + 8 * "[0-9]"))  # of a run: its newest
        path = steps[-1] if steps else path
        path = path / "model.safetensors" if path.is_dir() else path
        tensors = read_safetensors(path, lambda name: "normalizer." in name)
        if not tensors:
            raise UserError(f"{path}: has no normalizer parameters (a model with plain softmax?)")
        folder = path.resolve().parent
        in_run = folder.parent.name == "checkpoints"  # RUN/checkpoints/step_N/model.safetensors
        models.append((folder.parent.parent.name if in_run else folder.name, tensors))
    with_p = [m for m in models if "model.normalizer.length_scale" in m[1]]
    panels = (1 if with_p else 0) + 1
    figure, rows = plt.subplots(1, panels, figsize=(6.4 * panels + 1.5, 5), layout="constrained",
                                squeeze=False)
    panel = list(rows[0])
    if with_p:
        axes = panel.pop(0)
        for index, (name, tensors) in enumerate(with_p):
            p = tensors["model.normalizer.length_scale"].ravel()
            a1, a2, r2 = fit_logarithm(p)
            n = np.arange(1, len(p) + 1)
            print(f"{name}: p_n = {a1:.5f} ln n {a2:+.5f}   R^2 = {r2:.5f}   (n = 1 .. {len(p)})")
            color = COLORS[index % len(COLORS)]
            axes.plot(n, p, ".", markersize=3, color=color, alpha=0.7)
            axes.plot(n, a1 * np.log(n) + a2, color="black", linewidth=1.3)
            axes.annotate(f"fit {a1:.3f} ln n {a2:+.3f},  R² = {r2:.4f}", (0.97, 0.06 + 0.06 * index),
                          xycoords="axes fraction", ha="right", color=color)
        axes.set_xlabel("context size n")
        axes.set_ylabel("learned $p_n$")
        axes.set_title("Learned length scale (dots) and its fit (line)", loc="left", fontsize=13)
    axes = panel.pop(0)
    pattern = re.compile(r"model\.layers\.(\d+)\.self_attn\.normalizer\.scale$")
    ends, found = [], False
    for index, (name, tensors) in enumerate(models):
        color = COLORS[index % len(COLORS)]
        scales = {int(match[1]): value.ravel() for key, value in tensors.items()
                  if (match := pattern.match(key))}
        if not scales:
            continue
        found = True
        offset = (index - (len(models) - 1) / 2) * 0.12
        for layer, value in sorted(scales.items()):
            print(f"{name}: layer {layer}: s = " + " ".join(f"{v:.4f}" for v in value))
            axes.plot(np.full(len(value), layer + offset), value, "o", color=color, alpha=0.75,
                      markersize=6, markeredgecolor="white", markeredgewidth=0.6)
        layers = sorted(scales)
        means = [scales[layer].mean() for layer in layers]
        axes.plot(np.array(layers) + offset, means, color=color, linewidth=1)
        ends.append((means[-1], name, color))
    if found:
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_xlabel("layer")
        axes.set_ylabel("learned $s$")
        axes.set_title("Scale s of each head (dots), mean (line)", loc="left", fontsize=13)
        label_ends(axes, ends)
    else:
        figure.delaxes(axes)
    if arguments.title:
        figure.suptitle(arguments.title)
    save(figure, arguments.out)


# --- the results of `ssmax evaluate` ------------------------------------------------------------------


def read_result(path, task):
    path = pathlib.Path(path)
    try:
        record = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    if record.get("task") != task:
        raise UserError(f"{path}: not a result of `ssmax evaluate {task} --json`")
    return record


def read_results(paths, task):
    records = [read_result(path, task) for path in paths]
    names = told_apart([record["name"] for record in records], paths)
    return [{**record, "name": name} for record, name in zip(records, names)]


def panels(count, width, height, columns=3):
    """A figure with `count` panels and the list of them."""
    across = min(count, columns)
    down = -(-count // across)
    figure, grid = plt.subplots(down, across, figsize=(width * across, height * down),
                                layout="constrained", squeeze=False, sharey=True)
    cells = list(grid.ravel())
    for unused in cells[count:]:
        figure.delaxes(unused)
    return figure, cells[:count]


def plot_learned_length(arguments):
    figure, axes = plt.subplots(figsize=(8.5, 5.2), layout="constrained")
    for index, record in enumerate(read_results(arguments.inputs, "learned-length")):
        p, color = np.array(record["p"]), COLORS[index % len(COLORS)]
        n = np.arange(1, len(p) + 1)
        axes.plot(n, p, ".", markersize=4, color=color, alpha=0.7)
        axes.plot(n, record["a1"] * np.log(n) + record["a2"], color="black", linewidth=1.3)
        axes.annotate(f"{record['name']}: ({record['a1']:.3f} ± {record['a1_standard_error']:.3f}) "
                      f"ln n + ({record['a2']:.3f} ± {record['a2_standard_error']:.3f}),  "
                      f"R² = {record['r_squared']:.4f}", (0.97, 0.06 + 0.07 * index),
                      xycoords="axes fraction", ha="right", color=color)
    axes.set_xlabel("context size n")
    axes.set_ylabel("learned $p_n$")
    axes.set_title(arguments.title or "Learned $p_n$ (dots) and its logarithmic fit (line)", loc="left")
    save(figure, arguments.out)


def plot_needle(arguments):
    records = read_results(arguments.inputs, "needle")
    figure, cells = panels(len(records), 4.6, 3.8)
    for axes, record in zip(cells, records):
        contexts = sorted({cell["context"] for cell in record["cells"]})
        depths = sorted({cell["depth"] for cell in record["cells"]})
        grid = np.full((len(depths), len(contexts)), np.nan)
        for cell in record["cells"]:
            grid[depths.index(cell["depth"]), contexts.index(cell["context"])] = 100 * cell["exact"]
        image = axes.imshow(grid, vmin=0, vmax=100, cmap="RdYlGn", aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                axes.annotate(f"{value:.0f}", (column, row), ha="center", va="center", fontsize=9)
        axes.grid(False)
        axes.set_xticks(range(len(contexts)), [f"{c:,}" for c in contexts], rotation=45)
        axes.set_yticks(range(len(depths)), [f"{100 * d:.0f} %" for d in depths])
        inside = [i for i, c in enumerate(contexts) if c <= record["train_length"]]
        if inside and len(inside) < len(contexts):
            axes.axvline(inside[-1] + 0.5, color="black", linestyle="--", linewidth=1.2)
        axes.set_title(record["name"], loc="left", fontsize=12)
        axes.set_xlabel("context size (tokens)")
        print(f"{record['name']:28s} mean over cells {np.nanmean(grid):5.1f} % exact")
    cells[0].set_ylabel("depth of the needle")
    figure.colorbar(image, ax=cells, label="exact answers (%)", shrink=0.8)
    figure.suptitle(arguments.title or "Needle in a haystack", x=0.01, ha="left")
    save(figure, arguments.out)


def plot_heads(arguments):
    """Figure 7 of Nakanishi 2025: one prompt, the heads sorted by their score."""
    records = read_results(arguments.inputs, "attention")
    figure, both = plt.subplots(1, 2, figsize=(12.5, 4.8), layout="constrained")
    for axes, key in zip(both, ("needle", "digits")):
        ends = []
        for index, record in enumerate(records):
            scores = sorted(record["contexts"][0]["trials"][0][key], reverse=True)[:25]
            style = look(index)
            axes.plot(range(1, len(scores) + 1), scores, marker="o", markersize=4, **style)
            ends.append((scores[-1], record["name"], style["color"]))
        axes.set_xlabel("head, by rank")
        axes.set_ylabel("attention weight of the answering position")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_title("on the whole needle" if key == "needle" else "on its digits", loc="left")
        label_ends(axes, ends)
    context = records[0]["contexts"][0]["context"]
    figure.suptitle(arguments.title or f"Needle score of the strongest heads, context {context:,}",
                    x=0.01, ha="left")
    save(figure, arguments.out)


OUTCOMES = {"exact": ("#009E73", "o", "correct"), "first_digit": ("#E69F00", "^", "first digit"),
            "wrong": ("#D55E00", "x", "wrong")}


def plot_trials(arguments):
    """Figure 8: the largest needle score over heads in every trial, sorted, marked by the answer."""
    records = read_results(arguments.inputs, "attention")
    figure, cells = panels(len(records), 4.4, 3.4)
    for axes, record in zip(cells, records):
        trials = sorted(record["contexts"][0]["trials"], key=lambda trial: -max(trial["needle"]))
        for outcome, (color, marker, label) in OUTCOMES.items():
            rank = [i for i, trial in enumerate(trials, 1) if trial["outcome"] == outcome]
            axes.plot(rank, [max(trials[i - 1]["needle"]) for i in rank], marker, color=color,
                      linestyle="none", markersize=4.5, label=f"{label} ({len(rank)})")
        axes.legend(fontsize=9, frameon=False, loc="upper right")
        axes.set_title(record["name"], loc="left", fontsize=12)
        axes.set_xlabel("trial, by rank")
    cells[0].set_ylabel("top needle score")
    cells[0].set_ylim(bottom=0)
    context = records[0]["contexts"][0]["context"]
    figure.suptitle(arguments.title or f"Top needle score over heads, context {context:,}", x=0.01,
                    ha="left")
    save(figure, arguments.out)


def plot_fading(arguments):
    records = read_results(arguments.inputs, "fading")
    figure, both = plt.subplots(1, 2, figsize=(12.5, 5), layout="constrained")
    for axes, key in zip(both, ("maximum", "entropy")):
        ends = []
        for index, record in enumerate(records):
            style = look(index)
            n = [row["n"] for row in record["rows"]]
            heads = np.array([row[key] for row in record["rows"]])  # (rows, heads)
            axes.fill_between(n, np.quantile(heads, 0.1, 1), np.quantile(heads, 0.9, 1),
                              color=style["color"], alpha=0.08, linewidth=0)
            axes.plot(n, heads.mean(1), marker="o", markersize=3, **style)
            ends.append((heads.mean(1)[-1], record["name"], style["color"]))
            axes.axvline(record["train_length"], color="#555555", linewidth=1, linestyle="--", zorder=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.set_xlabel("number of keys n")
        if key == "entropy":
            axes.plot(n, np.log(n), color="black", linewidth=1, linestyle=":")
            axes.set_ylabel("entropy of a row (nats); dotted: ln n")
        else:
            axes.set_yscale("log")
            axes.set_ylabel("largest weight of a row")
        label_ends(axes, ends)
    figure.suptitle(arguments.title or "Attention against context size: mean over heads, band of 80 %",
                    x=0.01, ha="left")
    save(figure, arguments.out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, draw, what in (("loss", plot_loss, "RUN"), ("against", plot_against, "FOLDER"),
                             ("positions", plot_positions, "FILE"),
                             ("length-scale", plot_length_scale, "MODEL"),
                             ("learned-length", plot_learned_length, "FILE"),
                             ("needle", plot_needle, "FILE"), ("heads", plot_heads, "FILE"),
                             ("trials", plot_trials, "FILE"), ("fading", plot_fading, "FILE")):
        command = commands.add_parser(name)
        command.add_argument("inputs", nargs="+", metavar=what)
        command.add_argument("--out", default=name, metavar="NAME", help="writes NAME.png, NAME.svg")
        command.add_argument("--title")
        command.set_defaults(draw=draw)
        if name == "loss":
            command.add_argument("--smooth", type=int, default=0, metavar="STEPS",
                                 help="window of the mean (default a sixtieth of the run)")
            command.add_argument("--log-x", action="store_true")
        if name == "positions":
            command.add_argument("--bins-per-octave", type=int, default=6)
            command.add_argument("--max-loss", type=float, help="upper end of the loss axis")
    arguments = parser.parse_args()
    plt.rcParams.update(STYLE)
    try:
        arguments.draw(arguments)
    except UserError as error:
        sys.exit(f"plot.py: {error}")


if __name__ == "__main__":
    main()
