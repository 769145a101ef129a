#!/usr/bin/env bash
# A question set on eight GPUs of a Slurm cluster, one shard each; the same command goes on after a stop.
#   sbatch deploy/slurm.sh run.yaml
#SBATCH --job-name=fvl-eval
#SBATCH --array=1-8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --output=fvl-eval-%A-%a.log
#SBATCH --requeue
set -euo pipefail
config="${1:?name a configuration: sbatch deploy/slurm.sh run.yaml}"
count="${SLURM_ARRAY_TASK_COUNT:-8}"
# Rows that are there are not answered again, so that a shard that was preempted goes on.
exec fvl eval "$config" --shard "${SLURM_ARRAY_TASK_ID:-1}/$count"
