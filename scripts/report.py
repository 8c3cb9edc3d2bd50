#!/usr/bin/env python3
"""Makes report.md and report.html, one page that holds its pictures, from a folder of results.

    scripts/report.py RESULTS --runs RUNS [--scale NAME] [--ssmax PROGRAM]

RESULTS is what scripts/reproduce.sh writes: loss/, positions_THETA/, needle_THETA/, heads/, trials/,
fading/, multiple-choice/, cloze/ with NAME.json, learned_length.json, figures/, seconds.txt. What is
missing is left out. Needs the Python standard library only.
"""

import argparse
import base64
import html
import json
import math
import pathlib
import platform
import re
import subprocess

NAMES = {
    "a_softmax": "(a) Softmax", "b_ssmax": "(b) SSMax", "c_ssmax_fixed_scale": "(c) SSMax, s = 1",
    "d_ssmax_bias": "(d) SSMax with bias", "e_swap_after": "(e) swapped after training",
    "f_swap_late": "(f) swapped late", "learned_length": "learned p_n",
    "self_adjust": "Self-Adjust, normalized", "a_softmax_seed2": "(a), second seed",
    "b_ssmax_seed2": "(b), second seed",
}
TRAINED_THETA = 10000  # of RoPE, in every config
FIGURE_1 = {10: (0.942826, 0.940101), 100: (0.599860, 0.995063), 1000: (0.129346, 0.999646),
            10000: (0.014626, 0.999975), 100000: (0.001482, 0.999998)}
FIGURE_1_SCALE, FIGURE_1_LOW, FIGURE_1_HIGH = 0.43, -2.0, 3.0


def read_folder(folder):
    """{run: result} in the order of NAMES."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8"))
             for path in sorted(folder.glob("*.json"))}
    order = [name for name in NAMES if name in found]
    return {name: found[name] for name in order + [n for n in found if n not in NAMES]}


def title(name):
    return NAMES.get(name, name)


def number(value, digits=4):
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def table(header, rows, column="---:"):
    lines = ["| " + " | ".join(header) + " |", "|---" + f"|{column}" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def training_loss(run):
    """Mean training loss of the last eighth of a run, or None."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return None
    losses = [record["loss"] for line in path.read_text(encoding="utf-8").splitlines()
              if (record := json.loads(line)).get("event") == "step" and record.get("loss") is not None]
    if not losses:
        return None
    tail = losses[-max(1, len(losses) // 8):]
    return sum(tail) / len(tail)


def octave_means(result, train_length):
    """{'T/2 .. T': loss} of a positions result, up to the end of its sequences."""
    mean, columns, start = result["mean"], {}, 0
    for multiple in (1, 2, 4, 8, 16, 32):
        stop = min(multiple * train_length, len(mean))
        if stop > start:
            columns[f"{start:,}–{stop - 1:,}"] = sum(mean[start:stop]) / (stop - start)
        start = stop
    return columns


def beyond(result):
    """Mean loss beyond the training length."""
    tail = result["mean"][result["train_length"]:]
    return sum(tail) / len(tail) if tail else None


def exact_share(result, inside):
    """Mean of the cells within (or beyond) the training length."""
    cells = [cell["exact"] for cell in result["cells"]
             if (cell["context"] <= result["train_length"]) == inside]
    return sum(cells) / len(cells) if cells else None


def reach(result, share=0.5):
    """Largest context whose mean over depths is at least `share`; 0 when there is none."""
    best = 0
    for context in sorted({cell["context"] for cell in result["cells"]}):
        cells = [cell["exact"] for cell in result["cells"] if cell["context"] == context]
        if sum(cells) / len(cells) >= share:
            best = context
    return best


def top_scores(result, key="needle"):
    """Mean over trials of the largest score over heads."""
    tops = [max(trial[key]) for trial in result["contexts"][0]["trials"]]
    return sum(tops) / len(tops)


def figure_1():
    """The paper's figure 1 from its formulas: n, maximum of Softmax, maximum of SSMax."""
    rows = []
    for n in FIGURE_1:
        lead = FIGURE_1_HIGH - FIGURE_1_LOW
        softmax = 1 / (1 + (n - 1) * math.exp(-lead))
        ssmax = 1 / (1 + (n - 1) * math.exp(-FIGURE_1_SCALE * math.log(n) * lead))
        rows.append((n, softmax, ssmax))
    return rows


def below(values, low, high, what):
    """Whether `low` is below `high`, in plain words; '' when one was not measured."""
    if values.get(low) is None or values.get(high) is None:
        return ""
    letters = {"a_softmax": "(a)", "b_ssmax": "(b)", "c_ssmax_fixed_scale": "(c)",
               "d_ssmax_bias": "(d)"}
    if values[low] < values[high]:
        return f"as in the paper: {what} of {letters[low]} below {letters[high]}"
    return f"not as in the paper: {what} of {letters[low]} not below {letters[high]}"


class Report:
    def __init__(self, folder, runs):
        self.folder, self.runs, self.parts = folder, runs, []
        self.states = []  # (figure, what the paper states, what was measured, in a word)

    def results(self, name):
        return read_folder(self.folder / name)

    def text(self, *lines):
        self.parts += [*lines, ""]

    def figure(self, name, caption):
        if (self.folder / "figures" / f"{name}.png").is_file():
            self.text(f"![{caption}](figures/{name}.png)")

    def figure_1(self):
        self.text("## Figure 1: attention fades")
        self.text(
                  "One score of +3 among scores of −2, s = 0.43; the largest weight. The program's own "
                  "kernels are held to this table by `Figures.SoftmaxFadesAndSsmaxDoesNot`.")
        rows = [[f"{n:,}", f"{a:.6f}", f"{b:.6f}"] for n, a, b in figure_1()]
        self.text(table(["n", "Softmax", "SSMax"], rows))
        same = all(abs(a - FIGURE_1[n][0]) < 5e-7 and abs(b - FIGURE_1[n][1]) < 5e-7
                   for n, a, b in figure_1())
        self.states.append(("1", "Softmax's maximum falls to 0.0015 at n = 100,000, SSMax's stays at 1",
                            "the same to the last digit" if same else "other values",
                            "as in the paper" if same else "not as in the paper"))

    def learned_length(self):
        path = self.folder / "learned_length.json"
        if not path.is_file():
            return
        fit = json.loads(path.read_text(encoding="utf-8"))
        self.text("## Figure 2: the learned p_n")
        self.figure("figure_2_learned_length", "p_n against n")
        self.text(f"p_n = ({fit['a1']:.4f} ± {fit['a1_standard_error']:.4f}) ln n + "
                  f"({fit['a2']:.4f} ± {fit['a2_standard_error']:.4f}), R² = {fit['r_squared']:.5f}, "
                  f"root mean square error {fit['root_mean_square_error']:.4f}. p_n starts at ln n, so "
                  "that a short run says more of the start than of what training wants.")
        self.states.append(("2", "p_n grows like a1 ln n + a2",
                            f"a1 = {fit['a1']:.3f}, a2 = {fit['a2']:.3f}, R² = {fit['r_squared']:.4f}",
                            "as in the paper: a logarithm" if fit["r_squared"] > 0.99 else
                            "not as in the paper: no clear logarithm"))

    def loss(self):
        losses = self.results("loss")
        if not losses:
            return
        self.text("## Figure 4: loss")
        self.figure("figure_4_loss", "Training loss")
        rows = [[title(name), number(training_loss(self.runs / name)),
                 f"{number(result['nats_per_token'])} ± {number(result['standard_error'])}",
                 number(result.get("bits_per_byte"))] for name, result in losses.items()]
        self.text(table(["run", "training, last eighth", "validation, nats/token", "bits/byte"], rows))
        first = losses.get("a_softmax")
        if first is None:
            return
        gaps = [f"{title(name)} {losses[name]['nats_per_token'] - first['nats_per_token']:+.4f}"
                for name in ("b_ssmax", "c_ssmax_fixed_scale", "d_ssmax_bias") if name in losses]
        if "a_softmax_seed2" in losses and "b_ssmax_seed2" in losses:
            second = (losses["b_ssmax_seed2"]["nats_per_token"]
                      - losses["a_softmax_seed2"]["nats_per_token"])
            gaps.append(f"second seed (b) − (a) {second:+.4f}")
        self.states.append(("4", "(b)–(d) below (a) throughout by about 0.008, (d) lowest, (c) ≈ (b)",
                            "validation loss against (a): " + ", ".join(gaps),
                            below({name: r["nats_per_token"] for name, r in losses.items()},
                                  "b_ssmax", "a_softmax", "validation loss")))

    def by_theta(self, name):
        """[(theta, {run: result})] of the folders NAME_THETA, smallest theta first."""
        folders = {int(path.name.rsplit("_", 1)[1]): path for path in self.folder.glob(f"{name}_*")}
        found = [(theta, read_folder(folders[theta])) for theta in sorted(folders)]
        return [(theta, results) for theta, results in found if results]

    def positions(self):
        found = self.by_theta("positions")
        if found:
            self.text("## Figure 5: loss by position")
        for theta, results in found:
            self.text(f"### θ = {theta:,} at test time")
            self.figure(f"figure_5_positions_{theta}", f"Loss by position, θ = {theta:,}")
            columns = {name: octave_means(result, result["train_length"])
                       for name, result in results.items()}
            header = list(next(iter(columns.values())))
            self.text(table(["nats per token at positions", *header],
                            [[title(name), *(number(row.get(column), 3) for column in header)]
                             for name, row in columns.items()]))
            if theta == TRAINED_THETA:
                continue
            tails = {name: beyond(result) for name, result in results.items()}
            shown = ", ".join(f"{title(name)} {number(value, 3)}" for name, value in tails.items()
                              if value is not None and not name.endswith("_seed2"))
            self.states.append(
                (f"5, θ × {theta / TRAINED_THETA:g}",
                 "with θ × 50, (b) and (c) better than (a) beyond the training length, (d) degraded, "
                 "(e) poor at short contexts, (f) close to (b)",
                 f"mean loss beyond the training length: {shown}",
                 below(tails, "b_ssmax", "a_softmax", "loss beyond the training length")))

    def needle(self):
        found = self.by_theta("needle")
        if found:
            self.text("## Figure 6: needle in a haystack",
                      "Exact answers in %, mean over depths; in parentheses: at least the first digit.")
        for theta, results in found:
            self.text(f"### θ = {theta:,} at test time")
            self.figure(f"figure_6_needle_{theta}", f"Exact answers, θ = {theta:,}")
            contexts = sorted({cell["context"] for r in results.values() for cell in r["cells"]})
            rows = []
            for name, result in results.items():
                row = [title(name)]
                for context in contexts:
                    cells = [cell for cell in result["cells"] if cell["context"] == context]
                    row.append(f"{100 * sum(c['exact'] for c in cells) / len(cells):.0f} "
                               f"({100 * sum(c['first_digit'] for c in cells) / len(cells):.0f})"
                               if cells else "–")
                rows.append(row)
            self.text(table(["context", *(f"{context:,}" for context in contexts)], rows))
            shown = ", ".join(f"{title(name)} {100 * (exact_share(r, True) or 0):.0f} % within, "
                              f"{100 * (exact_share(r, False) or 0):.0f} % beyond, "
                              + (f"half right up to {reach(r):,}" if reach(r) else "nowhere half right")
                              for name, r in results.items() if not name.endswith("_seed2"))
            self.states.append(
                (f"6, θ × {theta / TRAINED_THETA:g}",
                 "(a) fails beyond short contexts, (b) accurate to about 10 × the training length, "
                 "(c), (d) lower, (e), (f) between", f"exact answers at the training length: {shown}",
                 below({name: exact_share(r, False) for name, r in results.items()},
                       "a_softmax", "b_ssmax", "exact answers beyond the training length")))

    def attention(self):
        heads, trials = self.results("heads"), self.results("trials")
        if heads:
            self.text("## Figure 7: the heads that see the needle")
            self.figure("figure_7_heads", "Needle score of the strongest heads")
            rows = []
            for name, result in heads.items():
                trial = result["contexts"][0]["trials"][0]
                strong = sum(score > 0.1 for score in trial["needle"])
                rows.append([title(name), number(max(trial["needle"])), number(max(trial["digits"])),
                             f"{strong} of {len(trial['needle'])}", trial["outcome"].replace("_", " ")])
            self.text(table(["run", "top score, needle", "top score, digits", "heads above 0.1",
                             "answer"], rows))
            best = ", ".join(f"{row[0]} {row[1]}" for row in rows if "second" not in row[0])
            self.states.append(("7", "(a) almost no attention on the needle, (b) strong",
                                f"top needle score: {best}",
                                below({name: max(r["contexts"][0]["trials"][0]["needle"])
                                       for name, r in heads.items()},
                                      "a_softmax", "b_ssmax", "top score")))
        if trials:
            self.text("## Figure 8: the strongest head in every trial")
            self.figure("figure_8_trials", "Top needle score over heads")
            rows = []
            for name, result in trials.items():
                outcomes = [trial["outcome"] for trial in result["contexts"][0]["trials"]]
                rows.append([title(name), number(top_scores(result)), number(top_scores(result, "digits")),
                             *(str(outcomes.count(kind)) for kind in ("exact", "first_digit", "wrong"))])
            self.text(table(["run", "mean top score, needle", "digits", "correct", "first digit", "wrong"],
                            rows))
            shown = ", ".join(f"{row[0]} {row[1]} with {row[3]} correct" for row in rows
                              if "second" not in row[0])
            self.states.append(("8", "(b) strong in nearly every trial, (a) fails", shown,
                                below({name: top_scores(r) for name, r in trials.items()},
                                      "a_softmax", "b_ssmax", "mean top score")))

    def fading(self):
        results = self.results("fading")
        if not results:
            return
        self.text("## Attention against context size")
        self.figure("fading", "Largest weight and entropy of attention rows against n")
        header = [row["n"] for row in next(iter(results.values()))["rows"]][3::4]
        for key, what in (("maximum", "Largest weight of a row, mean over heads"),
                          ("entropy", "Entropy of a row in nats, mean over heads")):
            rows = []
            for name, result in results.items():
                means = {row["n"]: sum(row[key]) / len(row[key]) for row in result["rows"]}
                rows.append([title(name), *(number(means.get(n), 3) for n in header)])
            self.text(f"{what}:", "", table(["n", *(f"{n:,}" for n in header)], rows))

    def choices(self):
        for folder, keys, what in (("multiple-choice", ("acc", "acc_norm"), "HellaSwag"),
                                   ("cloze", ("perplexity", "acc"), "LAMBADA")):
            results = self.results(folder)
            if results:
                count = next(iter(results.values()))["questions"]
                self.text(f"## {what}, {count:,} questions", "",
                          table(["run", *keys], [[title(name), *(number(r[key]) for key in keys)]
                                                 for name, r in results.items()]))

    def seconds(self):
        path = self.folder / "seconds.txt"
        if not path.is_file():
            return
        sums = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            seconds, file = line.split(" ", 1)
            parts = pathlib.PurePath(file).parts
            kind = parts[-2] if parts[-2] != self.folder.name else pathlib.PurePath(file).stem
            if file.endswith("done"):
                kind = "fine-tuning" if parts[-2].endswith("_needle") else "training"
            sums.setdefault(kind, []).append(int(seconds))
        rows = [[kind, str(len(all_)), f"{sum(all_):,}"] for kind, all_ in sums.items()]
        self.text("## Time", "", table(["work", "runs", "seconds"], rows))


def markdown_of(report, scale, machine):
    head = [f"# The SSMax paper at the scale `{scale}`", "",
            "K. M. Nakanishi, \"Scalable-Softmax Is Superior for Attention\", arXiv 2501.19399. Made by "
            f"`scripts/reproduce.sh --scale {scale}` and `scripts/report.py`{machine}.", "",
            "## What the paper states and what was measured", "",
            table(["figure", "the paper states", "measured here", "in a word"], report.states, "---"), "",
            "The last column compares (a) and (b) of the first seed by their means alone; differences "
            "within the intervals below, or smaller than those between two seeds, mean nothing.", ""]
    return "\n".join(head + report.parts).rstrip() + "\n"


def inline(text):
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)


STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;font-size:14px}td,th{padding:.3em .7em;border-bottom:1px solid #ddd;
text-align:right}td:first-child,th:first-child{text-align:left}table.text td{text-align:left}img{max-width:100%}
code{background:#f3f3f3;padding:.1em .3em}"""


def html_of(markdown, folder):
    """The few forms of Markdown that markdown_of() writes, with the pictures inside."""
    body, lines, at = [], markdown.splitlines(), 0
    while at < len(lines):
        line = lines[at]
        picture = re.match(r"!\[([^\]]*)\]\(([^)]+)\)", line)
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            body.append(f"<h{level}>{inline(line[level:].strip())}</h{level}>")
        elif picture:
            data = base64.b64encode((folder / picture[2]).read_bytes()).decode()
            body.append(f'<p><img alt="{html.escape(picture[1])}" src="data:image/png;base64,{data}"></p>')
        elif line.startswith("|"):
            rows = []
            while at < len(lines) and lines[at].startswith("|"):
                rows.append([cell.strip() for cell in lines[at].strip("|").split("|")])
                at += 1
            kind = ' class="text"' if rows[0][0] == "figure" else ""
            cells = ["".join(f"<th>{inline(c)}</th>" for c in rows[0])]
            cells += ["".join(f"<td>{inline(c)}</td>" for c in row) for row in rows[2:]]
            body.append(f"<table{kind}>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>")
            continue
        elif line.strip():
            body.append(f"<p>{inline(line)}</p>")
        at += 1
    name = html.escape(markdown.splitlines()[0].lstrip("# "))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
            f"<style>{STYLE}</style>{''.join(body)}</html>\n")


def machine_text(program):
    """", by ssmax VERSION on PROCESSOR" with what can be found out."""
    text = ""
    if program:
        result = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        text += f", by {result.stdout.strip()}" if result.returncode == 0 else ""
    cpu = pathlib.Path("/proc/cpuinfo")
    if cpu.is_file():
        found = re.search(r"model name\s*:\s*(.+)", cpu.read_text(encoding="utf-8"))
        cores = len(re.findall(r"^processor\s*:", cpu.read_text(encoding="utf-8"), re.MULTILINE))
        text += f" on {cores} cores of {found[1].strip() if found else platform.machine()}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--ssmax")
    arguments = parser.parse_args()
    report = Report(arguments.results, arguments.runs)
    for part in (report.figure_1, report.learned_length, report.loss, report.positions, report.needle,
                 report.attention, report.fading, report.choices, report.seconds):
        part()
    markdown = markdown_of(report, arguments.scale, machine_text(arguments.ssmax))
    (arguments.results / "report.md").write_text(markdown, encoding="utf-8")
    page = html_of(markdown, arguments.results)
    (arguments.results / "report.html").write_text(page, encoding="utf-8")
    print(f"wrote {arguments.results / 'report.md'} and {arguments.results / 'report.html'}")


if __name__ == "__main__":
    main()
