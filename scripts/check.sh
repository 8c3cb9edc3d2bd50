#!/usr/bin/env bash
# Everything a change must pass: format, tidy, layers, build, tests, schema, golden texts, configs.
#
#   scripts/check.sh [--all] [--no-tests]
#
# --all       clang-tidy on every file; otherwise on those that differ from the main branch and
#             those that are not committed
# --no-tests  leaves the tests out
set -uo pipefail
cd "$(dirname "$0")/.." || exit

all=0
tests=1
for option in "$@"; do
  case $option in
    --all) all=1 ;;
    --no-tests) tests=0 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "check.sh: no option $option; see scripts/check.sh --help" >&2; exit 2 ;;
  esac
done

failed=()
# check NAME COMMAND...: runs the command, prints its output only when it fails.
check() {
  local name=$1 output seconds=$SECONDS
  shift
  if output=$("$@" 2>&1); then
    printf '%-13s ok   %4d s\n' "$name" $((SECONDS - seconds))
  else
    printf '%-13s FAILED\n%s\n' "$name" "$output"
    failed+=("$name")
  fi
}

sources() { git ls-files '*.h' '*.cpp' '*.cu' '*.cuh'; }
# What git has and this tree changed since it left main; on main itself, since the last commit.
changed() {
  local base
  base=$(git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
  [[ $base == "$(git rev-parse HEAD)" ]] && base=$(git rev-parse --verify -q HEAD~1 || echo HEAD)
  { git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } |
    grep -E '\.(h|cpp)$' | sort -u
}

format() { sources | xargs clang-format --dry-run --Werror; }

# A header is checked through the sources that include it, by the header filter of .clang-tidy.
tidy() {
  local files
  if [[ $all == 1 ]]; then
    mapfile -t files < <(sources | grep -E '^(src|tests)/.*\.cpp$')
  else
    mapfile -t files < <(changed | grep -E '^(src|tests)/.*\.cpp$')
  fi
  # The emulation has the names and forms of what it stands for, CUDA, cuBLAS and NCCL, and clang 14
  # cannot read its headers, which the CUDA side is compiled with here.
  mapfile -t files < <(printf '%s\n' "${files[@]}" | grep -Ev '^(tests/simt/|$)|_cuda\.cpp$')
  [[ ${#files[@]} == 0 ]] && return
  # clang refuses what only g++ knows.
  mkdir -p build/cpu/tidy
  sed -E 's/ -(fno-thread-jumps|m(move|store)-max=128)//g' build/cpu/compile_commands.json \
    >build/cpu/tidy/compile_commands.json
  printf '%s\n' "${files[@]}" |
    xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p build/cpu/tidy
}

build() { cmake --preset cpu && cmake --build --preset cpu; }

scripts/install_dependencies.sh build check || exit 1
check format format
check layers scripts/check_layers.py
check build build
check tidy tidy
check schema scripts/check_texts.py --only schema build/cpu/ssmax
check texts scripts/check_texts.py --only texts build/cpu/ssmax
check docs scripts/check_texts.py --only docs build/cpu/ssmax
check configs scripts/check_texts.py --only configs build/cpu/ssmax
[[ $tests == 1 ]] &&
  check tests ctest --preset cpu --no-label-summary -j 2
if [[ ${#failed[@]} != 0 ]]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all checks passed"
