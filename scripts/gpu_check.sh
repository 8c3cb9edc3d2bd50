#!/usr/bin/env bash
# Everything there is to prove and measure on a machine with a GPU, in about ten minutes: builds the
# CUDA backend for the GPU that is there, runs the tests on it, and leaves logs and tables in a folder.
#
#   scripts/gpu_check.sh [--packages FOLDER] [--out FOLDER] [--data GLOB] [--python PYTHON] [SECTION...]
#
# Sections, by default all of them in this order:
#   build     configure and build the preset cuda-native
#   tests     ctest -L gpu: every kernel against double, every normalizer, whole runs beside the CPU
#   runs      some steps of each run of configs/small, with a resume; loss and tokens per second
#   bench     ssmax bench, where it has a GPU side
#   pytorch   training speed of PyTorch on this GPU beside ssmax; needs a Python with torch
#   sanitize  compute-sanitizer memcheck and racecheck over the kernel tests
#
# --packages  folder with unpacked packages of the libraries (include, lib) for CMAKE_PREFIX_PATH
# --out       where results go; default build/gpu_check
# --data      token shards for `runs`; default the headers of /usr/include as bytes
# --python    for `pytorch`; default python3
#
# The last lines are one for each section: passed, FAILED or skipped with the reason. Exit code 1 when
# one has failed.
set -uo pipefail
cd "$(dirname "$0")/.."

packages= out=build/gpu_check data= python=python3 sections=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --packages) packages=$(realpath "$2"); shift ;;
    --out) out=$2; shift ;;
    --data) data=$2; shift ;;
    --python) python=$2; shift ;;
    build | tests | runs | bench | pytorch | sanitize) sections+=("$1") ;;
    *) sed -n '2,24s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done
[[ ${#sections[@]} -gt 0 ]] || sections=(build tests runs bench pytorch sanitize)
mkdir -p "$out"
out=$(realpath "$out")
build=build/cuda-native
ssmax=$build/ssmax
export PATH=$PATH:/usr/local/cuda/bin
if [[ -n $packages ]]; then
  export CMAKE_PREFIX_PATH=$packages:$packages/usr
  export PKG_CONFIG_PATH=$(find "$packages" -type d -name pkgconfig | paste -sd:)
  export LD_LIBRARY_PATH=$(find "$packages" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:):${LD_LIBRARY_PATH:-}
fi

section_build() {
  cmake --preset cuda-native && cmake --build --preset cuda-native -j "$(nproc)"
}

section_tests() {
  ctest --test-dir "$build" -L '^gpu$' --no-label-summary --output-on-failure --timeout 300
}

prepare_data() {
  [[ -z $data ]] || return 0
  data="$out/headers/train_*.bin"
  [[ -d $out/headers ]] ||
    "$ssmax" prepare /usr/include --tokenizer bytes --out "$out/headers" --validation-fraction 0.02
}

# train NAME CONFIG OVERRIDE...: some steps of a run of configs/small.
train() {
  local name=$1 config=$2
  shift 2
  "$ssmax" train "configs/small/$config.json" --out "$out/runs/$name" --training.device=cuda \
    "--data.train=$data" "--data.validation=${data/train_/val_}" --schedule.warmup_steps=10 \
    --validation.batches=2 --validation.every_steps=0 --checkpoint.every_steps=20 "$@"
}

section_runs() {
  prepare_data || return 1
  rm -rf "$out/runs"
  local failed=0 config
  for config in a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias learned_length; do
    train "$config" "$config" --training.steps=20 &&
      train "$config" "$config" --training.steps=40 || failed=1  # the second goes on at step 20
  done
  train e_swap_after e_swap_after "--start.checkpoint=$out/runs/a_softmax" || failed=1
  train f_swap_late f_swap_late --training.steps=60 \
    "--start.checkpoint=$out/runs/a_softmax/checkpoints/step_00000040" || failed=1
  "$ssmax" evaluate "$out/runs/b_ssmax" positions --data "$data" --sequence-length 4096 \
    --sequences 4 --json "$out/positions.json" || failed=1
  "$ssmax" generate "$out/runs/b_ssmax" --prompt "#include <" --tokens 64 --tokenizer bytes ||
    failed=1
  summarize_runs
  return $failed
}

summarize_runs() {
  python3 - "$out/runs" > "$out/runs.md" <<'PYTHON'
import json, pathlib, statistics, sys
print("| run | steps | first loss | last loss | tokens/s, median | share of the matmul limit |")
print("|---|---|---|---|---|---|")
for path in sorted(pathlib.Path(sys.argv[1]).glob("*/metrics.jsonl")):
    steps = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [one for one in steps if one["event"] == "step"]
    if not steps:
        print(f"| {path.parent.name} | 0 | | | | |")
        continue
    speed = statistics.median(one["tokens_per_second"] for one in steps[2:] or steps)
    share = statistics.median(one["model_flops_utilization"] for one in steps[2:] or steps)
    print(f"| {path.parent.name} | {len(steps)} | {steps[0]['loss']:.3f} | "
          f"{steps[-1]['loss']:.3f} | {speed:,.0f} | {100 * share:.1f} % |")
PYTHON
  cat "$out/runs.md"
}

section_bench() {
  "$ssmax" bench --help | grep -q -- --device || {
    echo "this version times ops on the CPU only"
    return 77
  }
  "$ssmax" bench --device cuda --tokens 65536 --sequence-length 1024 | tee "$out/bench.txt"
}

section_pytorch() {
  "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || {
    echo "no torch that sees the GPU in $python; name another with --python"
    return 77
  }
  prepare_data || return 1
  "$python" scripts/pytorch_speed.py --device cuda --layers 8 --width 512 --heads 8 --batch 64 \
    --length 1024 --architecture llama --variants compile-bf16-autocast | tee "$out/pytorch.json"
}

section_sanitize() {
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not there"; return 77; }
  local failed=0 tool
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/kernels_gpu_tests" \
      --gtest_filter='*AgreesWithDouble*' --gtest_brief=1 || failed=1
  done
  return $failed
}

nvidia-smi > "$out/nvidia_smi.txt" 2>&1 || {
  echo "gpu_check: nvidia-smi finds no GPU; see $out/nvidia_smi.txt" >&2
  exit 1
}
verdict=() status=0
for section in "${sections[@]}"; do
  start=$SECONDS
  echo "== $section"
  "section_$section" 2>&1 | tee "$out/$section.log"
  code=${PIPESTATUS[0]}
  case $code in
    0) result=passed ;;
    77) result="skipped: $(tail -1 "$out/$section.log")" ;;
    *) result="FAILED, see $out/$section.log"; status=1 ;;
  esac
  verdict+=("$(printf '%-10s %4d s  %s' "$section" $((SECONDS - start)) "$result")")
  [[ $section == build && $code != 0 ]] && break
done
printf '%s\n' "" "${verdict[@]}" | tee "$out/verdict.txt"
exit $status
