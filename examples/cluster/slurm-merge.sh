#!/bin/bash
# Joins the shards of slurm-shard.sh.
#SBATCH --job-name=ser-merge
#SBATCH --mem=8G
#SBATCH --time=01:00:00
set -euo pipefail

ser merge "$OUT/calls" "$OUT"/shards/*
