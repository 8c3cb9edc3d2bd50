#!/usr/bin/env bash
# From a bare machine to curves: installs what is missing, builds, prepares text, trains a Softmax
# and an SSMax model, evaluates both beyond the training length, writes a sample, draws the curves.
#
#   scripts/quickstart.sh [--quick]
#
# --quick  a tenth of the training: shows that everything works, not what the models can do
#
# The text is the C and C++ headers under /usr/include: real, long, and on every such machine.
# Nothing is downloaded but packages. Started again it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0
for option in "$@"; do
  case $option in
    --quick) quick=1 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart.sh: no option $option; see scripts/quickstart.sh --help" >&2; exit 2 ;;
  esac
done

started=$SECONDS
say() {
  local seconds=$((SECONDS - started))
  printf '\n== %s (%d:%02d)\n' "$1" $((seconds / 60)) $((seconds % 60))
}

length=128              # of training; configs/quickstart says the same
reach=$((8 * length))   # of the evaluation
theta=500000            # RoPE's base for it: 50 times that of training
data=data/quickstart
runs=runs/quickstart
train=()
sequences=256
if [[ $quick == 1 ]]; then
  runs=runs/quickstart_quick
  train=(--training.steps=40 --validation.every_steps=20)
  sequences=32
fi

say "Packages"
scripts/install_dependencies.sh build plots

say "Build"
cmake --preset cpu >/dev/null
cmake --build --preset cpu --target ssmax
ssmax=build/cpu/ssmax

say "Text"
if [[ ! -f $data/manifest.json ]]; then
  # The headers of the compiler, the C library and the kernel: these are there once g++ is.
  headers=(/usr/include/c++ /usr/include/linux "/usr/include/$(uname -m)-linux-gnu")
  rm -rf "$data" "$data.tokenizer"
  "$ssmax" tokenizer train "${headers[@]}" --vocab-size 2048 --out "$data.tokenizer"
  "$ssmax" prepare "${headers[@]}" --tokenizer "$data.tokenizer" --validation-fraction 0.05 \
      --out "$data"
fi
"$ssmax" inspect "$data"

for kind in softmax ssmax; do
  say "Train $kind"
  "$ssmax" train configs/quickstart/$kind.json --out "$runs/$kind" "${train[@]}"
done

say "Loss at every position up to $reach, eight times the training length"
for kind in softmax ssmax; do
  "$ssmax" evaluate "$runs/$kind" positions --data "$data"/val_*.bin --sequence-length "$reach" \
      --sequences "$sequences" --model.position.theta=$theta --json "$runs/positions_$kind.json"
done

say "A sample of the SSMax model"
"$ssmax" generate "$runs/ssmax" --prompt '#include <' --seed 1 | tee "$runs/sample.txt"
echo

say "Curves"
if python=$(scripts/find_python.sh matplotlib); then
  "$python" scripts/plot.py loss "$runs/softmax" "$runs/ssmax" --out "$runs/loss" --smooth 10
  "$python" scripts/plot.py positions "$runs/positions_softmax.json" "$runs/positions_ssmax.json" \
      --out "$runs/positions"
else
  echo "no Python with matplotlib was found, so none were drawn; the numbers are there"
fi

say "Done"
cat <<TEXT
runs         $runs/softmax and $runs/ssmax: config.json, metrics.jsonl, checkpoints
loss         $runs/loss.png
by position  $runs/positions.png, $runs/positions_{softmax,ssmax}.json
sample       $runs/sample.txt
more         $ssmax --help, and README.md
TEXT
