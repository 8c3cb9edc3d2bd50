#!/usr/bin/env bash
# The reproduction of the SSMax paper at one of four scales: trains the six configurations,
# learned_length and Self-Adjust Softmax, fine-tunes them for the needle, evaluates everything and
# draws the figures beside what the paper states, in a report.
#
#   scripts/reproduce.sh --scale mini --train books.jsonl --validation val.jsonl --long long.jsonl
#
# --scale tiny|mini|small|paper   tiny: a minute, shows that everything works and nothing else;
#                                 mini: 80 minutes on two cores; small: one GPU; paper: many
# --train, --validation, --long   texts as for `ssmax prepare`, needed once; may be repeated; --long:
#                                 long documents that --train does not hold. tiny does without
# --hellaswag, --lambada FILE     JSON Lines files; without them these evaluations are left out
# --only NAME,NAME                runs: a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias
#                                 e_swap_after f_swap_late learned_length self_adjust
#                                 a_softmax_seed2 b_ssmax_seed2
# --steps NAME,NAME               data train loss positions finetune needle attention fading length
#                                 choices figures report
# --train-set, --finetune-set KEY=VALUE        config keys to override, may be repeated
# --ssmax, --python, --data, --runs, --out     program, Python with matplotlib, and the folders
#
# Started again it goes on where it was stopped; what is done is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."

scale='' train=() validation=() long=() hellaswag='' lambada=''
train_set=() finetune_set=()
only='' steps='' ssmax=build/cpu/ssmax python='' data='' runs='' out=''
usage() { sed -n '2,25s/^# \{0,1\}//p' "$0"; exit "$1"; }
while [[ $# -gt 0 ]]; do
  case "$1" in -h | --help) usage 0 ;; esac
  [[ $# -gt 1 ]] || { echo "reproduce.sh: $1 needs a value" >&2; exit 2; }
  case "$1" in
    --scale) scale=$2 ;;
    --train) train+=("$2") ;;
    --validation) validation+=("$2") ;;
    --long) long+=("$2") ;;
    --hellaswag) hellaswag=$2 ;;
    --lambada) lambada=$2 ;;
    --only) only=$2 ;;
    --steps) steps=$2 ;;
    --train-set) train_set+=("--$2") ;;
    --finetune-set) finetune_set+=("--$2") ;;
    --ssmax) ssmax=$2 ;;
    --python) python=$2 ;;
    --data) data=$2 ;;
    --runs) runs=$2 ;;
    --out) out=$2 ;;
    *) echo "reproduce.sh: no option $1; see scripts/reproduce.sh --help" >&2; exit 2 ;;
  esac
  shift 2
done

# What differs between the scales. Contexts and lengths are multiples of the training length. thetas:
# of RoPE at test time, the trained one first; theta: where attention scores are taken. The paper's
# 50-fold theta blurs the positions of a model as small as mini, so that smaller ones are tried too.
configs=configs/$scale
seeds=(a_softmax_seed2 b_ssmax_seed2)
train_overrides=() finetune_overrides=()
depths=0,0.2,0.4,0.6,0.8,1
thetas=(10000 500000) theta=500000
case "$scale" in
  tiny)
    configs=configs/mini
    length=128 vocabulary=512 examples=200 trials=4 sequences=4 attention_trials=4
    needle_contexts=128,256 attention_context=256 position_length=512 depths=0,1 rows=2 choices=20
    choices_length=512
    tiny=(--model.vocab_size=512 --model.num_hidden_layers=2 --model.num_attention_heads=2
      --model.hidden_size=32 --model.intermediate_size=64)
    train_overrides=("${tiny[@]}" --training.steps=16 --training.batch_sequences=8
      --checkpoint.every_steps=2 --checkpoint.keep=8 --validation.every_steps=8
      --validation.batches=2 --schedule.warmup_steps=4)
    finetune_overrides=(--training.epochs=2) ;;
  mini)
    length=128 vocabulary=1024 examples=10000 trials=20 sequences=64 attention_trials=100
    needle_contexts=128,256,512,1024,1280,2048 attention_context=512 position_length=2048 rows=8
    thetas=(10000 40000 100000 250000 500000)
    choices=1000 choices_length=512 ;;  # an ending of HellaSwag has up to 140 of the 1,024 tokens
  small)
    length=512 vocabulary=50257 examples=20000 trials=20 sequences=64 attention_trials=100
    needle_contexts=512,1024,2048,4096,5120,8192 attention_context=4096 position_length=10240 rows=8
    choices=10042 ;;
  paper)
    length=1024 vocabulary=50257 examples=100000 trials=20 sequences=64
    attention_trials=100 needle_contexts=1024,2048,4096,8192,10240,16384 attention_context=8000
    position_length=20000 rows=8 choices=10042 ;;
  *) echo "reproduce.sh: --scale must be tiny, mini, small or paper" >&2; exit 2 ;;
esac
train_overrides+=("${train_set[@]}")
finetune_overrides+=("${finetune_set[@]}")
data=${data:-data/$scale}
[[ $scale != paper || $data != data/paper ]] || data=data/fineweb
runs=${runs:-runs/$scale}
out=${out:-docs/results/$scale}
[[ -n $python ]] || python=$(scripts/find_python.sh matplotlib || true)

base=(a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias e_swap_after f_swap_late learned_length
  self_adjust)
all=("${base[@]}" "${seeds[@]}")
[[ $scale == mini || -n $only ]] || all=("${base[@]}")
names=()
for name in "${all[@]}"; do
  [[ -n $only && ",$only," != *",$name,"* ]] || names+=("$name")
done
[[ ${#names[@]} -gt 0 ]] || { echo "reproduce.sh: --only $only names no run" >&2; exit 2; }

wants() { [[ -z $steps || ",$steps," == *",$1,"* ]]; }
has() { [[ " ${names[*]} " == *" $1 "* ]]; }
started=$SECONDS number=0
say() {
  local seconds=$((SECONDS - started))
  number=$((number + 1))
  printf '\n== %d. %s (%d:%02d)\n' "$number" "$1" $((seconds / 60)) $((seconds % 60))
}
# make FILE COMMAND...: runs the command unless its result is there; the time goes to seconds.txt.
make() {
  local file=$1 begin=$SECONDS
  shift
  [[ -f $file ]] && return 0
  mkdir -p "$(dirname "$file")"
  "$@"
  echo "$((SECONDS - begin)) $file" >>"$out/seconds.txt"
}
mkdir -p "$out" "$runs"

if [[ ${#train[@]} -eq 0 && $scale == tiny ]]; then
  # The headers of the compiler and the kernel: long, and on every machine that builds this.
  train=(/usr/include/linux) validation=(/usr/include/asm-generic) long=(/usr/include/c++/*/ext)
fi
if wants data && [[ ! -f $data/manifest.json || ! -f $data.long/manifest.json ]]; then
  say "Text"
  need() { # FOLDER OPTION COUNT
    [[ -f $1/manifest.json || $3 -gt 0 ]] && return
    echo "reproduce.sh: $1 is not there yet: give $2" >&2
    exit 2
  }
  need "$data" "--train and --validation" $((${#train[@]} * ${#validation[@]}))
  need "$data.long" --long ${#long[@]}
  if [[ ! -f $data/manifest.json ]]; then
    if [[ ! -f $data.tokenizer/tokenizer.json ]]; then
      rm -rf "$data.tokenizer"
      "$ssmax" tokenizer train "${train[@]}" --vocab-size "$vocabulary" --out "$data.tokenizer"
    fi
    "$ssmax" prepare "${train[@]}" --validation "${validation[@]}" --tokenizer "$data.tokenizer" \
      --out "$data"
  fi
  [[ -f $data.long/manifest.json ]] ||
    "$ssmax" prepare "${long[@]}" --tokenizer "$data/tokenizer.json" --out "$data.long"
  # The needle task reads the long texts themselves.
  printf '%s\n' "${long[@]}" >"$data.long/inputs.txt"
fi
tokenizer=$data/tokenizer.json
if wants data && [[ ! -f $data/needle.jsonl ]]; then
  say "Needle examples"
  if [[ ${#train[@]} -eq 0 ]]; then
    echo "reproduce.sh: the needle examples need text: give --train" >&2
    exit 2
  fi
  "$ssmax" prepare-needle "${train[@]}" --tokenizer "$tokenizer" --sequence-length "$length" \
    --examples "$examples" --out "$data/needle.jsonl"
fi
haystack=()
if [[ ${#long[@]} -gt 0 ]]; then
  haystack=("${long[@]}")
elif [[ -f $data.long/inputs.txt ]]; then
  mapfile -t haystack <"$data.long/inputs.txt"
fi

if wants train; then
  for name in "${names[@]}"; do
    config=${name%_seed2}
    say "Train $name"
    own=("--name=$name" "--data.train=$data/train_*.bin" "--data.validation=$data/val_*.bin"
      "${train_overrides[@]}")
    [[ $name == "$config" ]] || own+=(--seed=4242)
    case "$config" in
      e_swap_after) own+=(--training.steps=0 "--start.checkpoint=$runs/a_softmax") ;;
      f_swap_late)
        steps_of_a=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["training"]["steps"])' \
          "$runs/a_softmax/config.json")
        swap=$(printf 'step_%08d' $((steps_of_a * 7 / 8)))
        own+=("--start.checkpoint=$runs/a_softmax/checkpoints/$swap") ;;
    esac
    make "$runs/$name/done" "$ssmax" train "$configs/$config.json" --out "$runs/$name" "${own[@]}"
    touch "$runs/$name/done"
  done
fi

if wants loss; then
  say "Validation loss"
  for name in "${names[@]}"; do
    make "$out/loss/$name.json" "$ssmax" evaluate "$runs/$name" loss --data "$data/val_*.bin" \
      --json "$out/loss/$name.json"
  done
fi

if wants positions; then
  for angle in "${thetas[@]}"; do
    say "Loss by position to $position_length, theta $angle"
    for name in "${names[@]}"; do
      make "$out/positions_$angle/$name.json" "$ssmax" evaluate "$runs/$name" positions --documents \
        --data "$data.long/train_*.bin" --sequence-length "$position_length" \
        --sequences "$sequences" "--model.position.theta=$angle" \
        --json "$out/positions_$angle/$name.json"
    done
  done
fi

if wants finetune; then
  for name in "${names[@]}"; do
    say "Fine-tune $name"
    make "$runs/${name}_needle/done" "$ssmax" train "$configs/finetune.json" \
      --out "$runs/${name}_needle" "--name=$name" "--data.train=$data/needle.jsonl" \
      "--data.tokenizer=$tokenizer" "--start.checkpoint=$runs/$name" "${finetune_overrides[@]}"
    touch "$runs/${name}_needle/done"
  done
fi

if { wants needle || wants attention; } && [[ ${#haystack[@]} -eq 0 ]]; then
  echo "reproduce.sh: the needle needs long texts: give --long" >&2
  exit 2
fi
needle() { # NAME THETA TASK FOLDER OPTIONS...
  local name=$1 angle=$2 task=$3 file=$out/$4/$1.json
  shift 4
  mkdir -p "$(dirname "$file")"
  "$ssmax" evaluate "$runs/${name}_needle" "$task" --haystack "${haystack[@]}" \
    --tokenizer "$tokenizer" "--model.position.theta=$angle" --json "$file" "$@"
}
if wants needle; then
  for angle in "${thetas[@]:1}"; do
    say "Needle in a haystack, contexts $needle_contexts, theta $angle"
    for name in "${names[@]}"; do
      folder=needle_$angle begin=$SECONDS
      [[ -f $out/$folder/$name.done ]] || {
        needle "$name" "$angle" needle "$folder" --contexts "$needle_contexts" --depths "$depths" \
          --trials "$trials"
        echo "$((SECONDS - begin)) $out/$folder/$name.json" >>"$out/seconds.txt"
        touch "$out/$folder/$name.done"
      }
    done
  done
fi
if wants attention; then
  say "Attention on the needle, context $attention_context"
  for name in "${names[@]}"; do
    make "$out/heads/$name.json" needle "$name" "$theta" attention heads --contexts "$attention_context" \
      --trials 1 --depth 0.5 --city Tokyo --number 8106422
    make "$out/trials/$name.json" needle "$name" "$theta" attention trials --contexts "$attention_context" \
      --trials "$attention_trials"
  done
fi

if wants fading; then
  say "How attention fades"
  for name in "${names[@]}"; do
    make "$out/fading/$name.json" "$ssmax" evaluate "$runs/$name" fading --documents \
      --data "$data.long/train_*.bin" --sequence-length "$position_length" --sequences "$rows" \
      "--model.position.theta=$theta" --json "$out/fading/$name.json"
  done
fi
if wants length && has learned_length; then
  say "The learned length"
  make "$out/learned_length.json" "$ssmax" evaluate "$runs/learned_length" learned-length \
    --json "$out/learned_length.json"
fi
if wants choices; then
  for pair in "multiple-choice $hellaswag" "cloze $lambada"; do
    task=${pair%% *} file=${pair#* }
    [[ -n $file ]] || continue
    say "$task"
    for name in "${names[@]}"; do
      make "$out/$task/$name.json" "$ssmax" evaluate "$runs/$name" "$task" --data "$file" \
        --limit "$choices" --max-length "${choices_length:-$length}" --tokenizer "$tokenizer" \
        --json "$out/$task/$name.json"
    done
  done
fi

results() { # FOLDER: its results, in the order of the runs
  local name
  for name in "${all[@]}"; do
    if [[ -f $out/$1/$name.json ]]; then echo "$out/$1/$name.json"; fi
  done
}
draw() { # NAME COMMAND INPUT...
  local name=$1 command=$2
  shift 2
  [[ $# -eq 0 ]] || "$python" scripts/plot.py "$command" "$@" --out "$out/figures/$name"
}
if wants figures; then
  say "Figures"
  if [[ -z $python ]]; then
    echo "no Python with matplotlib was found, so none were drawn; the numbers are there"
  else
    losses=()
    for name in a_softmax b_ssmax c_ssmax_fixed_scale d_ssmax_bias; do
      [[ ! -f $runs/$name/metrics.jsonl ]] || losses+=("$runs/$name")
    done
    draw figure_4_loss loss "${losses[@]}"
    for angle in "${thetas[@]}"; do
      mapfile -t files < <(results "positions_$angle")
      draw "figure_5_positions_$angle" positions "${files[@]}"
      mapfile -t files < <(results "needle_$angle")
      draw "figure_6_needle_$angle" needle "${files[@]}"
    done
    mapfile -t files < <(results heads)
    draw figure_7_heads heads "${files[@]}"
    mapfile -t files < <(results trials)
    draw figure_8_trials trials "${files[@]}"
    mapfile -t files < <(results fading)
    draw fading fading "${files[@]}"
    [[ ! -f $out/learned_length.json ]] ||
      draw figure_2_learned_length learned-length "$out/learned_length.json"
  fi
fi
if wants report; then
  say "Report"
  python3 scripts/report.py "$out" --runs "$runs" --ssmax "$ssmax" --scale "$scale"
fi
say "Done"
