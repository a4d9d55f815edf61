#!/usr/bin/env bash
# Runs the packed benchmark: PyTorch's part first, where python3 has a PyTorch that sees a GPU, then ours, which prints the tables of both.
# Takes the options of npm run bench. Results go to results/ beside this file, or to RESULTS_DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
results=${RESULTS_DIR:-results}
mkdir -p "$results"

. ./environment.sh

torch=()
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  "$node" dist/command/list-rows.js --large "$@" >"$results/rows.json"
  python3 bench_torch.py "$results/rows.json" "$results/torch.json"
  torch=(--torch "$results/torch.json")
fi
"$node" dist/command/dawn.js --large --peers none "${torch[@]}" "$@"
