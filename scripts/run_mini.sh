#!/usr/bin/env bash
# The small reproduction: trains the seven runs of configs/mini on your text, measures their loss by
# position up to eight times the training length, and draws the curves. Goes on where it was stopped.
#
#   scripts/run_mini.sh --train books.jsonl --validation val.jsonl --long long_books.jsonl
#
# Texts are what `ssmax prepare` takes; --long should hold long documents that --train does not.
set -euo pipefail
cd "$(dirname "$0")/.."

ssmax=build/cpu/ssmax
out=docs/results/mini
python=python3
train=() validation=() long=()
while [ $# -gt 0 ]; do
  case "$1" in
    --train) train+=("$2") ;;
    --validation) validation+=("$2") ;;
    --long) long+=("$2") ;;
    --ssmax) ssmax=$2 ;;
    --out) out=$2 ;;
    --python) python=$2 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift 2
done
if [ ! -d data/mini ] || [ ! -d data/mini_long ]; then
  if [ ${#train[@]} -eq 0 ] || [ ${#validation[@]} -eq 0 ] || [ ${#long[@]} -eq 0 ]; then
    echo "run_mini.sh: data/mini is not there yet: give --train, --validation and --long" >&2
    exit 2
  fi
  "$ssmax" tokenizer train "${train[@]}" --vocab-size 4096 --out data/mini_tokenizer
  "$ssmax" prepare "${train[@]}" --validation "${validation[@]}" --tokenizer data/mini_tokenizer \
    --out data/mini
  "$ssmax" prepare "${long[@]}" --tokenizer data/mini_tokenizer --out data/mini_long
fi

configs="a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias e_swap_after f_swap_late learned_length"
for config in $configs; do
  "$ssmax" train "configs/mini/$config.json"
done

mkdir -p "$out"
for theta in 10000 500000; do
  files=()
  for config in $configs; do
    file="$out/positions_${config}_theta_$theta.json"
    [ -f "$file" ] || "$ssmax" evaluate "runs/mini_$config" positions --data 'data/mini_long/train_*.bin' \
      --sequence-length 1024 --sequences 256 --model.position.theta=$theta --json "$file"
    files+=("$file")
  done
  "$python" scripts/plot.py positions "${files[@]}" --out "$out/positions_theta_$theta"
done
runs=()
for config in a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias f_swap_late learned_length; do
  runs+=("runs/mini_$config")
done
"$python" scripts/plot.py loss "${runs[@]}" --out "$out/loss"
models=(runs/mini_learned_length/checkpoints/step_*[0-9]/model.safetensors)
"$python" scripts/plot.py length-scale "${models[-1]}" --out "$out/length_scale" |
  tee "$out/length_scale.txt"
