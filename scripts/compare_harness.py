#!/usr/bin/env python3
"""Compares `ssmax evaluate multiple-choice` and `cloze` with EleutherAI's lm-evaluation-harness on the
same files, its own code scoring the same checkpoint as exported by `ssmax export`.

    scripts/compare_harness.py CHECKPOINT --ssmax build/cpu/ssmax --hellaswag hellaswag.jsonl
        [--cloze lambada.jsonl] [--tokenizer T] [--limit 200] [--max-length N]

Needs lm-eval, accelerate, transformers and torch. Exit code 1 where a log-likelihood differs by more than 1e-3
relative (both compute in fp32), or a score is another.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks.hellaswag.utils import preprocess
except ImportError as error:
    sys.exit(f"compare_harness.py: {error.name} is missing; run `pip install lm-eval torch transformers accelerate`")


def hellaswag_documents(dataset):
    """As the harness's own task, for files with one context as well as with two."""
    def document(line):
        context = line["ctx"] if "ctx_a" not in line else \
            line["ctx_a"] + " " + line["ctx_b"].capitalize()
        return {"query": preprocess(line["activity_label"] + ": " + context),
                "choices": [preprocess(ending) for ending in line["endings"]],
                "gold": int(line["label"])}
    return dataset.map(document)


def task(name, path, **more):
    return {"task": name, "dataset_path": "json", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(path)}}, **more}


def harness_tasks(arguments):
    tasks = {}
    if arguments.hellaswag:
        tasks["multiple-choice"] = task(
            "local_hellaswag", arguments.hellaswag, output_type="multiple_choice",
            process_docs=hellaswag_documents, doc_to_text="{{query}}", doc_to_target="{{label}}",
            doc_to_choice="choices",
            metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True},
                         {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}])
    if arguments.cloze:
        tasks["cloze"] = task(
            "local_lambada", arguments.cloze, output_type="loglikelihood",
            doc_to_text="{{text.split(' ')[:-1]|join(' ')}}",
            doc_to_target="{{' '+text.split(' ')[-1]}}",
            metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
                         {"metric": "acc", "aggregation": "mean", "higher_is_better": True}])
    return tasks


def ours(arguments, name, path, folder):
    result = folder / f"{name}.json"
    command = [arguments.ssmax, "evaluate", arguments.checkpoint, name, "--data", path, "--limit",
               str(arguments.limit), "--max-length", str(arguments.max_length), "--items", "--json", result,
               "--training.precision=fp32"]
    if arguments.tokenizer:
        command += ["--tokenizer", arguments.tokenizer]
    subprocess.run(command, check=True)
    return json.loads(result.read_text(encoding="utf-8"))


def log_likelihoods(samples):
    """One list for each document, in the file's order."""
    return [[response[0] if isinstance(response, (tuple, list)) else response
             for response in sample["filtered_resps"]]
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--ssmax", default="build/cpu/ssmax")
    parser.add_argument("--hellaswag", type=pathlib.Path)
    parser.add_argument("--cloze", type=pathlib.Path)
    parser.add_argument("--tokenizer")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--max-length", type=int, default=128)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        export = [arguments.ssmax, "export", arguments.checkpoint, "--out", folder / "model"]
        if arguments.tokenizer:
            export += ["--tokenizer", arguments.tokenizer]
        subprocess.run(export, check=True)
        model = HFLM(pretrained=str(folder / "model"), trust_remote_code=True, dtype="float32",
                     device="cpu", batch_size=8, max_length=arguments.max_length)
        for task_name, config in harness_tasks(arguments).items():
            theirs = lm_eval.simple_evaluate(model=model, tasks=[config], limit=arguments.limit,
                                             log_samples=True, bootstrap_iters=0)
            own = ours(arguments, task_name, arguments.hellaswag if task_name != "cloze"
                       else arguments.cloze, folder)
            key = config["task"]
            scores = [(metric, own[metric], theirs["results"][key][f"{metric},none"])
                      for metric in ("acc", "acc_norm", "perplexity") if metric in own]
            found = [[value] if not isinstance(value, list) else value
                     for value in own["log_likelihoods"]]
            worst = max(abs(a - b) / max(1.0, abs(b))
                        for mine, other in zip(found, log_likelihoods(theirs["samples"][key]), strict=True)
                        for a, b in zip(mine, other, strict=True))
            print(f"{task_name}: {len(found)} questions, largest relative difference of a "
                  f"log-likelihood {worst:.1e}")
            for metric, mine, other in scores:
                same = abs(mine - other) <= (1e-3 * other if metric == "perplexity" else 1e-12)
                failed = failed or not same
                print(f"  {metric:10s} ssmax {mine:.6f}   harness {other:.6f}{'' if same else '   DIFFERS'}")
            failed = failed or worst > 1e-3
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
