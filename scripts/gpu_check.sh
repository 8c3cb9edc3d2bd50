#!/usr/bin/env bash
# Everything there is to prove and measure on a machine with a GPU, in about ten minutes: builds the
# CUDA backend for the GPU that is there, runs the tests on it, and leaves logs and tables in a folder.
#
#   scripts/gpu_check.sh [--packages FOLDER] [--out FOLDER] [--data GLOB] [--python PYTHON]
#                        [--minutes N] [--build FOLDER] [--tiny] [SECTION...]
#
# Sections, by default all of them in this order:
#   build     configure and build the preset cuda-native
#   tests     ctest -L gpu: every kernel against double, every normalizer, whole runs beside the CPU
#   runs      some steps of each run of configs/small, with a resume; loss and tokens per second
#   curves    four runs of configs/mini on the CPU and on the GPU, their losses laid over each other
#   bench     every op, and attention by mma.sync and by wgmma, beside the GPU's limits; steps of the
#             paper's model, and of GPT-2 with GELU apart and within matrix products
#   pytorch   attention and training steps of PyTorch on this GPU; needs a Python with torch
#   ranks     NCCL with one rank, and two ranks on one GPU through host memory, beside one rank; with
#             several GPUs a run on all of them, and with mpirun the speed on 1, 2, 4 ... NCCL may
#             be that of --python, as PyTorch brings it; without any the rest runs
#   sanitize  compute-sanitizer memcheck and racecheck over kernel tests
#
# --packages  folder that scripts/install_dependencies.sh unpack has made, where libraries are missing
# --out       where results go; default build/gpu_check
# --data      token shards for `runs`; default the headers of /usr/include as bytes
# --python    for `pytorch` and the figure of `curves` (torch, matplotlib); default python3
# --minutes   time for all sections; one that has not ended by then has failed; default 10
# --build     a build that is there already, for the sections behind `build`; default build/cuda-native
# --tiny      shapes that an emulated GPU can carry, to try this script
#
# The last lines are one for each section: passed, FAILED or skipped with the reason. Exit code 1 when
# one has failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

packages='' out=build/gpu_check data='' python=python3 minutes=10 build=build/cuda-native tiny=''
sections=()
usage() { sed -n '2,30s/^# \{0,1\}//p' "$0"; }
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --tiny) tiny=yes; shift; continue ;;
    build | tests | runs | curves | bench | pytorch | ranks | sanitize)
      sections+=("$1"); shift; continue ;;
  esac
  [[ $# -gt 1 ]] || { usage >&2; exit 2; }
  case $1 in
    --packages) packages=$(realpath "$2") || exit 2 ;;
    --out) out=$2 ;;
    --data) data=$2 ;;
    --python) python=$2 ;;
    --minutes) minutes=$2 ;;
    --build) build=$2 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
[[ ${#sections[@]} -gt 0 ]] || sections=(build tests runs curves bench pytorch ranks sanitize)
mkdir -p "$out" || exit 1
out=$(realpath "$out")
ssmax=$build/ssmax
export PATH=$PATH:/usr/local/cuda/bin
if [[ -n $packages ]]; then
  export CMAKE_PREFIX_PATH=$packages:$packages/usr
  LD_LIBRARY_PATH=$(find "$packages" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:):${LD_LIBRARY_PATH:-}
  export LD_LIBRARY_PATH
fi

section_build() {
  cmake --preset cuda-native ${nccl:+-DNCCL_INCLUDE_DIR="$nccl/include"} && cmake --build --preset cuda-native -j "$(nproc)"
}

# A process for each test, so that a fault of one is not that of all; most of its time is the start of
# CUDA and the reference on the CPU, so eight go side by side.
section_tests() {
  local jobs=$(($(nproc) / 2))
  jobs=$((jobs > 8 ? 8 : jobs < 1 ? 1 : jobs))
  OMP_NUM_THREADS=$(($(nproc) / jobs)) ctest --test-dir "$build" -L '^gpu$' -j "$jobs" \
    --no-tests=error --no-label-summary --output-on-failure --timeout 300
}

prepare_data() {
  [[ -z $data ]] || return 0
  data="$out/headers/train_*.bin"
  local text=/usr/include
  [[ -z $tiny ]] || text=/usr/include/linux
  [[ -d $out/headers ]] ||
    "$ssmax" prepare "$text" --tokenizer bytes --out "$out/headers" --validation-fraction 0.02
}

# train NAME CONFIG OVERRIDE...: some steps of a run of configs/small, with smaller batches, by the
# command $launcher.
train() {
  local name=$1 config=$2
  shift 2
  local size=(--training.batch_sequences=64)
  [[ -z $tiny ]] || size=(--training.batch_sequences=2 --data.sequence_length=16
    --model.vocab_size=259 --model.num_hidden_layers=1 --model.num_attention_heads=2
    --model.hidden_size=16 --model.intermediate_size=24 --training.precision=fp32)
  # shellcheck disable=SC2086  # a command and its argument
  $launcher "$ssmax" train "configs/small/$config.json" --out "$out/runs/$name" --training.device=cuda \
    "--data.train=$data" "--data.validation=${data/train_/val_}" --schedule.warmup_steps=10 \
    --validation.batches=2 --validation.every_steps=1000 --checkpoint.every_steps=1000 \
    --checkpoint.keep=2 "${size[@]}" "$@"
}

section_runs() {
  prepare_data || return 1
  rm -rf "$out/runs"
  local failed=0 config half=20 positions=4096 tokens=64
  [[ -z $tiny ]] || half=2 positions=32 tokens=4
  for config in a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias learned_length self_adjust; do
    train "$config" "$config" --training.steps=$half &&
      train "$config" "$config" --training.steps=$((2 * half)) || failed=1  # goes on in the middle
  done
  train e_swap_after e_swap_after "--start.checkpoint=$out/runs/a_softmax" --training.steps=0 ||
    failed=1
  train f_swap_late f_swap_late --training.steps=$((3 * half)) \
    "--start.checkpoint=$out/runs/a_softmax" || failed=1
  "$ssmax" evaluate "$out/runs/b_ssmax" positions --data "$data" --sequence-length $positions \
    --sequences 4 --json "$out/positions.json" || failed=1
  "$ssmax" generate "$out/runs/b_ssmax" --prompt "#include <" --tokens $tokens --tokenizer bytes ||
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

# curves.md, curves.png and curves.svg, the runs in curves.
section_curves() {
  local data=''  # the vocabulary of configs/mini is smaller than that of other shards may be
  prepare_data || return 1
  rm -rf "$out/curves"
  local size=()
  [[ -z $tiny ]] || size=(--steps 3 --set data.sequence_length=16 --set model.num_hidden_layers=1
    --set model.num_attention_heads=2 --set model.hidden_size=16 --set model.intermediate_size=24
    --set training.batch_sequences=8 --set validation.batches=1)
  "$python" scripts/compare_devices.py "$ssmax" --out "$out/curves" --train "$data" \
    --validation "${data/train_/val_}" "${size[@]}"
}

# bench NAME ARGUMENT...: a table in NAME.txt and its numbers in bench_NAME.json.
bench() {
  local name=$1
  shift
  "$ssmax" bench "$@" --device cuda --seconds 0.1 --json "$out/bench_$name.json" |
    tee "$out/bench_$name.txt"
}

# The shapes of FlashAttention's own tables: 16,384 tokens of width 2,048.
attention_lengths="1024 4096 16384" attention_tokens=16384 attention_width=2048
attention_head_sizes="64 128" step_tokens=32768
if [[ -n $tiny ]]; then
  attention_lengths="16 32" attention_tokens=32 attention_width=128 step_tokens=32
fi

section_bench() {
  local failed=0 length head_size
  local shape=(--tokens 65536 --sequence-length 1024)
  local step=(--layers 12 --tokens "$step_tokens" --sequence-length 1024 --rounds 10)
  [[ -z $tiny ]] || shape=(--tokens 32 --sequence-length 16 --hidden 32 --heads 2 --intermediate 48
    --vocab 61)
  [[ -z $tiny ]] || step=("${shape[@]}" --layers 1 --rounds 2)
  bench ops "${shape[@]}" || failed=1
  for length in $attention_lengths; do
    for head_size in $attention_head_sizes; do
      bench "attention_${length}_$head_size" attention --tokens $attention_tokens \
        --sequence-length "$length" --hidden $attention_width \
        --heads $((attention_width / head_size)) \
        --normalizers softmax ssmax self_adjust:variant=plain self_adjust:variant=normalized \
        --attention-form mma wgmma ||
        failed=1
    done
  done
  bench step_paper step "${step[@]}" --normalizers softmax softmax ssmax self_adjust || failed=1
  bench step_forms step "${step[@]}" --normalizers softmax ssmax --attention-form mma wgmma || failed=1
  [[ -n $tiny ]] || step+=(--intermediate 3072)
  bench step_gpt2 step "${step[@]}" --architecture gpt2 --normalizers softmax ssmax \
    --gelu-fusion off on || failed=1
  return $failed
}

section_pytorch() {
  "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || {
    echo "no torch that sees the GPU in $python; name another with --python"
    return 77
  }
  local failed=0 architecture
  # shellcheck disable=SC2086  # lists of numbers
  "$python" scripts/pytorch_speed.py --device cuda --attention --lengths $attention_lengths \
    --head-sizes $attention_head_sizes --attention-tokens $attention_tokens \
    --attention-width $attention_width | tee "$out/pytorch_attention.json" || failed=1
  for architecture in llama gpt2; do
    "$python" scripts/pytorch_speed.py --device cuda --layers 12 --width 768 --heads 12 \
      --batch $((step_tokens / 1024)) --length 1024 --architecture $architecture --seconds 10 \
      --variants compile-bf16-autocast | tee "$out/pytorch_step_$architecture.json" || failed=1
  done
  return $failed
}

# ranked NAME RANKS OVERRIDE...: the first steps of b_ssmax on ranks that see one GPU.
ranked() {
  local name=ranks_$1 launcher="$run_ranks $2" first=${CUDA_VISIBLE_DEVICES:-0}
  shift 2
  CUDA_VISIBLE_DEVICES=${first%%,*} train "$name" b_ssmax --training.steps=10 "$@"
}

section_ranks() {
  prepare_data || return 1
  rm -rf "$out"/runs/ranks_*
  local failed=0 name gpus counts=1 n with_nccl=yes
  if ! ranked nccl 1 --parallel.transport=nccl > "$out/nccl.log" 2>&1; then
    with_nccl=no
    grep -q 'has no NCCL' "$out/nccl.log" || failed=1
  fi
  cat "$out/nccl.log"
  ranked alone 1 && ranked two 2 &&
    ranked two_sharded 2 --parallel.transport=host --parallel.shard_optimizer=true &&
    ranked two_bf16 2 --parallel.transport=host --parallel.reduction=bf16 || return 1
  # A sum over one rank is what is there, and a sharded optimizer gives the same bits.
  if [[ $with_nccl == yes ]]; then
    python3 scripts/compare_losses.py "$out/runs/ranks_alone" "$out/runs/ranks_nccl" || failed=1
  fi
  python3 scripts/compare_losses.py "$out/runs/ranks_two" "$out/runs/ranks_two_sharded" || failed=1
  # Other orders of sums: bf16 rounds a logit by 2^-9, which averages over the tokens of a batch.
  for name in two two_bf16; do
    python3 scripts/compare_losses.py "$out/runs/ranks_alone" "$out/runs/ranks_$name" --tolerance 2e-2 ||
      failed=1
  done
  gpus=$(nvidia-smi -L | wc -l)
  if [[ $gpus -gt 1 && $with_nccl == yes ]]; then
    # Every rank with a GPU of its own: the communicator against exact sums, and a run.
    # shellcheck disable=SC2086  # a command and its option
    $run_ranks "$gpus" "$build/comm_gpu_tests" --gtest_filter='Nccl*' || failed=1
    launcher="$run_ranks $gpus" train ranks_gpus b_ssmax --training.steps=10 \
      --parallel.transport=nccl --training.batch_sequences=$((8 * gpus)) || failed=1
    launcher="$run_ranks 1" train ranks_gpu b_ssmax --training.steps=10 \
      --training.batch_sequences=$((8 * gpus)) || failed=1
    python3 scripts/compare_losses.py "$out/runs/ranks_gpu" "$out/runs/ranks_gpus" \
      --tolerance 2e-2 || failed=1
    for ((n = 2; n <= gpus; n *= 2)); do counts+=,$n; done
    [[ $run_ranks != *--tcp ]] || { echo "scaling needs mpirun"; return $failed; }
    python3 scripts/measure_ranks.py "$ssmax" --ranks "$counts" --layers 12 --width 768 --heads 12 \
      --vocabulary 50304 --length 1024 --batch $((16 * gpus)) --set training.device=cuda |
      tee "$out/ranks.md" || failed=1
  else
    echo "one GPU, or no NCCL: scaling is not measured"
  fi
  return $failed
}

section_sanitize() {
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not there"; return 77; }
  local failed=0 tool skipped='CrossEntropy*'
  for tool in memcheck racecheck; do
    # Of races within the library's kernels nobody here is the judge.
    [[ $tool == memcheck ]] || skipped+=':Linear*'
    compute-sanitizer --tool $tool --error-exitcode 1 "$build/normalizers_gpu_tests" \
      --gtest_filter='All/DeviceNormalizer.FusedAgreesWithDouble/s*:*Fp32AgreesWithDouble/softmax' \
      --gtest_brief=1 || failed=1
    compute-sanitizer --tool $tool --error-exitcode 1 "$build/kernels_gpu_tests" \
      --gtest_filter="*AgreesWithDouble*:-$skipped" --gtest_brief=1 || failed=1
  done
  return $failed
}

# That of the system comes first.
nccl=''
if ! ldconfig -p 2>/dev/null | grep -q 'libnccl\.so\.2'; then
  nccl=$("$python" -c 'import nvidia.nccl; print(list(nvidia.nccl.__path__)[0])' 2>/dev/null)
  [[ -z $nccl ]] || export LD_LIBRARY_PATH=$nccl/lib:${LD_LIBRARY_PATH:-}
fi

nvidia-smi > "$out/nvidia_smi.txt" 2>&1 || {
  echo "gpu_check: nvidia-smi finds no GPU; see $out/nvidia_smi.txt" >&2
  exit 1
}
cat "$out/nvidia_smi.txt"
# Sections run in shells of their own, which `timeout` can end.
launcher='' run_ranks=scripts/run_ranks.sh
command -v mpirun >/dev/null || run_ranks+=' --tcp'
export out data python build tiny ssmax launcher run_ranks nccl attention_lengths attention_tokens \
  attention_width attention_head_sizes step_tokens
export -f prepare_data train summarize_runs bench section_build section_tests section_runs \
  section_curves section_bench section_pytorch ranked section_ranks section_sanitize
verdict=() status=0 deadline=$((SECONDS + 60 * minutes))
for section in "${sections[@]}"; do
  start=$SECONDS
  left=$((deadline - SECONDS))
  echo "== $section"
  if [[ $left -le 0 ]]; then
    verdict+=("$(printf '%-10s %4d s  skipped: no time left of %d minutes' "$section" 0 "$minutes")")
    continue
  fi
  timeout --kill-after=10 $left bash -uo pipefail -c "section_$section" 2>&1 |
    tee "$out/$section.log"
  code=${PIPESTATUS[0]}
  case $code in
    0) result=passed ;;
    77) result="skipped: $(tail -1 "$out/$section.log")" ;;
    124 | 137) result="FAILED: not done within $minutes minutes in all, see $out/$section.log"; status=1 ;;
    *) result="FAILED, see $out/$section.log"; status=1 ;;
  esac
  verdict+=("$(printf '%-10s %4d s  %s' "$section" $((SECONDS - start)) "$result")")
  [[ $section != build || $code == 0 ]] || break
done
printf '%s\n' "" "${verdict[@]}" | tee "$out/verdict.txt"
exit $status
