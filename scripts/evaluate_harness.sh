#!/usr/bin/env bash
# lm-evaluation-harness on a folder that `ssmax export` wrote.
#
#   scripts/evaluate_harness.sh EXPORT [--tasks LIST] [--out FOLDER] [-- LM_EVAL_OPTION...]
#
# --tasks  default hellaswag,lambada_openai,niah_single_1,niah_single_2,niah_multikey_1 (the last three
#          are of RULER; their contexts are as long as the export's max_position_embeddings, or
#          --length)
# --length tokens of RULER's contexts
# --out    default EXPORT/harness
# After -- anything that lm_eval takes, such as: -- --limit 100 --device cuda
#
# Uses the Python of SSMAX_PYTHON, or .venv-harness, which it makes with the versions below: scores are
# comparable only between runs of the same versions. Needs a network for the tasks' data unless they
# are in the cache of Hugging Face.
set -euo pipefail

packages=(lm_eval==0.4.13 transformers==5.24.0 datasets==5.2.0 safetensors==0.8.0 accelerate==1.15.0
          wonderwords==3.0.1 nltk==3.10.4)

tasks=hellaswag,lambada_openai,niah_single_1,niah_single_2,niah_multikey_1
export_folder=
out=
length=
options=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --tasks) tasks=$2; shift ;;
    --length) length=$2; shift ;;
    --out) out=$2; shift ;;
    --) shift; options=("$@"); break ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "evaluate_harness.sh: no option $1; see scripts/evaluate_harness.sh --help" >&2; exit 2 ;;
    *) export_folder=$1 ;;
  esac
  shift
done
if [[ ! -f $export_folder/config.json ]]; then
  echo "evaluate_harness.sh: '$export_folder' has no config.json; name a folder of ssmax export" >&2
  exit 2
fi
[[ -n $out ]] || out=$export_folder/harness

python=${SSMAX_PYTHON:-}
if [[ -z $python ]]; then
  root=$(cd "$(dirname "$0")/.." && pwd)
  python=$root/.venv-harness/bin/python
  if [[ ! -x $python ]]; then
    python3 -m venv "$root/.venv-harness"
    "$python" -m pip install --quiet torch "${packages[@]}"
  fi
fi
for package in "${packages[@]}"; do
  name=${package%%==*}
  found=$("$python" -c "from importlib.metadata import version; print(version('$name'))" \
          2>/dev/null || echo none)
  [[ $found == "${package##*==}" ]] ||
    echo "evaluate_harness.sh: note: $name is $found, not ${package##*==}" >&2
done
if [[ -z $length ]]; then
  length=$("$python" -c "
import json, sys
config = json.load(open(sys.argv[1]))
print(config.get('max_position_embeddings') or config['n_positions'])" "$export_folder/config.json")
fi

# Our documents begin with the end-of-text token, so the harness must put it in front.
exec "$python" -m lm_eval --model hf \
  --model_args "pretrained=$export_folder,trust_remote_code=True,add_bos_token=True,dtype=auto" \
  --tasks "$tasks" --metadata "{\"max_seq_lengths\": [$length], \"pretrained\": \"$export_folder\"}" \
  --output_path "$out" --log_samples "${options[@]}"
