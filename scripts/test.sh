#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. The last line is the verdict of ctest.
#
#   scripts/test.sh [--sanitize] [-- CTEST_OPTION...]
#
# --sanitize  builds with AddressSanitizer and UndefinedBehaviorSanitizer and runs what finishes in
#             time under them (labels `slow` and `timing` stay out)
# After -- anything ctest takes, such as: scripts/test.sh -- -R base
set -euo pipefail
cd "$(dirname "$0")/.."

preset=cpu
selection=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --sanitize) preset=debug; selection=(-LE '^(slow|timing)$') ;;
    --) shift; selection+=("$@"); break ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "test.sh: no option $1; see scripts/test.sh --help" >&2; exit 2 ;;
  esac
  shift
done

scripts/install_dependencies.sh build
cmake --preset "$preset"
cmake --build --preset "$preset"

# Tests use as many threads as there are cores, so more of them at once would only wait in turn.
log=build/$preset/ctest.log
status=0
ctest --preset "$preset" --no-label-summary -j 2 "${selection[@]}" 2>&1 | tee "$log" || status=$?
echo
grep -E '[0-9]+% tests passed' "$log" || echo "no test has run"
exit "$status"
