#!/usr/bin/env bash
# Fuzzes every reader of foreign files under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   scripts/fuzz.sh [--minutes 10] [--seed S] [NAME...]
#
# NAME is a target such as json; without one all targets share the minutes, as many at once as there
# are cores. The seed is drawn and printed unless given; a finding prints the seed and the iteration
# that repeat it. Exit code 1 when there was one.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=10
seed=$((RANDOM * 32768 + RANDOM))
names=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --minutes) minutes=$2; shift ;;
    --seed) seed=$2; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "fuzz.sh: no option $1; see scripts/fuzz.sh --help" >&2; exit 2 ;;
    *) names+=("$1") ;;
  esac
  shift
done

if [[ ${#names[@]} == 0 ]]; then
  mapfile -t names < <(sed -n 's/^ssmax_fuzz(\([a-z_]*\).*/\1/p' tests/fuzz/fuzz.cmake)
fi

scripts/install_dependencies.sh build
cmake --preset debug >/dev/null
cmake --build --preset debug --target "${names[@]/%/_fuzz}"

cores=$(nproc)
seconds=$((minutes * 60 * cores / ${#names[@]}))
if [[ $seconds -gt $((minutes * 60)) ]]; then seconds=$((minutes * 60)); fi
logs=build/debug/fuzz
mkdir -p "$logs"
echo "${#names[@]} targets, $seconds s each, $cores at once, seed $seed"

fuzz_one() {
  local log=$4/$1.log
  if "build/debug/$1_fuzz" --iterations 1000000000000 --seconds "$2" --seed "$3" >"$log" 2>&1; then
    echo "$1: no finding; $(tail -n 1 "$log")"
  else
    echo "$1: FINDING"
    tail -n 60 "$log"
    return 1
  fi
}
export -f fuzz_one
printf '%s\n' "${names[@]}" |
  xargs -P "$cores" -I NAME bash -c 'fuzz_one "$@"' _ NAME "$seconds" "$seed" "$logs" || exit 1
