#!/usr/bin/env bash
# What is to be known of a GPU, in at most 8 minutes: answers, speed, training. PYTHON has the dev extra.
#   bash benchmarks/gpu.sh [NUMBERS.json]
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks gpu --out "${1:-gpu.json}"
