#!/usr/bin/env bash
# Starts a command on several ranks of this machine.
#
#   scripts/run_ranks.sh [--tcp] RANKS COMMAND...
#
# By mpirun with the options that any machine needs: more ranks than cores are allowed, and root, as
# in a container; exit code 77 where mpirun is missing. The exec keeps the process id, so a signal to
# this process is one to mpirun.
# --tcp  without mpirun, by the variables that torchrun sets; for tests. The ranks have no launcher
#        that would end them; the exit code is the highest of theirs
set -euo pipefail
tcp=0
[[ ${1:-} == --tcp ]] && { tcp=1; shift; }
[[ $# -ge 2 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
ranks=$1
shift
if [[ $tcp == 1 ]]; then
  export WORLD_SIZE=$ranks LOCAL_WORLD_SIZE=$ranks MASTER_ADDR=localhost
  export MASTER_PORT=$((20000 + $$ % 10000))
  pids=()
  for ((rank = 0; rank < ranks; ++rank)); do
    RANK=$rank LOCAL_RANK=$rank "$@" &
    pids+=($!)
  done
  trap 'kill "${pids[@]}" 2>/dev/null' TERM INT
  status=0
  for pid in "${pids[@]}"; do
    code=0
    wait "$pid" || code=$?
    ((code > status)) && status=$code
  done
  exit "$status"
fi
if ! command -v mpirun >/dev/null; then
  echo "run_ranks.sh: no mpirun here; install openmpi-bin" >&2
  exit 77
fi
options=(--oversubscribe)
[[ $(id -u) == 0 ]] && options+=(--allow-run-as-root)
exec mpirun "${options[@]}" -np "$ranks" "$@"
