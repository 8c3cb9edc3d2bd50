#!/usr/bin/env bash
# Starts a command on several ranks of this machine: mpirun with the options that any machine needs.
#
#   scripts/run_ranks.sh RANKS COMMAND...
#
# More ranks than cores are allowed, and root, as in a container. Exit code 77 where mpirun is
# missing. The exec keeps the process id, so a signal to this process is one to mpirun.
set -euo pipefail
[[ $# -ge 2 ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
ranks=$1
shift
if ! command -v mpirun >/dev/null; then
  echo "run_ranks.sh: no mpirun here; install openmpi-bin" >&2
  exit 77
fi
options=(--oversubscribe)
[[ $(id -u) == 0 ]] && options+=(--allow-run-as-root)
exec mpirun "${options[@]}" -np "$ranks" "$@"
