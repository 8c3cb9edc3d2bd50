#!/usr/bin/env bash
# A Slurm job that trains on several machines and comes back until the run is complete.
#
#   sbatch --nodes 8 --gpus-per-node 8 --ntasks-per-node 8 scripts/slurm_train.sh CONFIG [OPTION...]
#
# CONFIG and OPTIONs are those of `ssmax train`; the run's folder must be on a file system that all
# machines see. SSMAX names the program, otherwise build/cuda/ssmax or build/cpu/ssmax is taken.
#
# Three minutes before the time limit Slurm signals this script, which passes SIGUSR1 on: the ranks
# write one checkpoint at the next step and end with 75, and the job goes back into the queue. The
# same command line then goes on from the checkpoint. A failed node requeues the job by itself.
#SBATCH --job-name=ssmax
#SBATCH --time=04:00:00
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=ssmax_%j.log
set -uo pipefail

[[ $# -ge 1 ]] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
# Slurm runs a copy of this script; the sources are where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$PWD}" || exit 2
program=${SSMAX:-}
for candidate in build/cuda/ssmax build/cpu/ssmax; do
  [[ -z $program && -x $candidate ]] && program=$candidate
done
[[ -n $program ]] || { echo "slurm_train.sh: no program; build it or name it in SSMAX" >&2; exit 2; }

# One rank that ends ends the step, so that no rank waits for it.
srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
  "$program" train "$@" &
step=$!
# srun passes SIGUSR1 on to all ranks.
trap 'kill -USR1 "$step"' USR1 TERM
# A trapped signal ends `wait` early; the step is over when it no longer exists.
status=0
wait "$step" || status=$?
while kill -0 "$step" 2>/dev/null; do
  status=0
  wait "$step" || status=$?
done

if [[ $status == 75 ]]; then
  echo "slurm_train.sh: stopped on request with a checkpoint; back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
