#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. The last line is the verdict of ctest.
#
#   scripts/test.sh [--sanitize | --threads] [-- CTEST_OPTION...]
#
# Without options the readers of foreign files are fuzzed for a few seconds each under
# AddressSanitizer and UndefinedBehaviorSanitizer too, before the tests.
# --sanitize  builds everything with both sanitizers and runs the tests under them, in a time: those
#             with the labels `slow` and `timing` stay out
# --threads   builds everything with ThreadSanitizer and runs the tests in which threads meet, on two
#             threads; a few minutes more than the plain tests
# After -- anything ctest takes, such as: scripts/test.sh -- -R base
set -euo pipefail
cd "$(dirname "$0")/.."

preset=cpu
fuzz=1
threads='^(base|device|corpus|comm|tcp|kernels|normalizers|checkpoint|model|evaluation|train)$'
selection=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --sanitize) preset=debug; fuzz=0; selection=(-LE '^(slow|timing)$') ;;
    # Under it a signal may be lost that comes while a thread is about to wait for the first time.
    --threads) preset=threads; fuzz=0; selection=(-L "$threads" -E StopSignals) ;;
    --) shift; fuzz=0; selection+=("$@"); break ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "test.sh: no option $1; see scripts/test.sh --help" >&2; exit 2 ;;
  esac
  shift
done

scripts/install_dependencies.sh build
status=0
if [[ $fuzz == 1 ]]; then
  cmake --preset debug >/dev/null
  cmake --build --preset debug --target fuzz_programs
  ctest --preset debug -L '^fuzz$' --no-label-summary -j 2 || status=$?
fi

cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
# Tests use as many threads as there are cores, so more of them at once would only wait in turn.
log=build/$preset/ctest.log
ctest --preset "$preset" --no-label-summary -j 2 "${selection[@]}" 2>&1 | tee "$log" || status=$?
echo
[[ $fuzz == 0 || $status == 0 ]] || echo "a test or the fuzzing under sanitizers failed, see above"
grep -E '[0-9]+% tests passed' "$log" || echo "no test has run"
exit "$status"
