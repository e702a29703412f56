#!/bin/bash
# One of 16 shards of a job, on Slurm. Submit it with slurm-merge.sh after it:
#
#   export CALLS=/data/calls OUT=/data/results
#   ser profile make "$CALLS" --roles agent,customer --out "$OUT/centre.json"
#   shards=$(sbatch --parsable slurm-shard.sh)
#   sbatch --dependency=afterok:"$shards" slurm-merge.sh
#
#SBATCH --job-name=ser
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=08:00:00
set -euo pipefail

# 3: some recordings failed; they are in the results, with the reason.
ser analyze "$CALLS" --roles agent,customer --profile "$OUT/centre.json" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
    --workers "$SLURM_CPUS_PER_TASK" --quiet \
    --out "$OUT/shards/$SLURM_ARRAY_TASK_ID" || [ $? -eq 3 ]
