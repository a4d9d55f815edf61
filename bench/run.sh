#!/usr/bin/env bash
# Runs the packed benchmark: PyTorch's part first, where python3 has a PyTorch that sees a GPU, then ours, which prints the tables of both.
# Takes the options of npm run bench. Results go to results/ beside this file, or to RESULTS_DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
results=${RESULTS_DIR:-results}
mkdir -p "$results"

node=$(command -v node || true)
if [ -z "$node" ] || [ "$("$node" -p 'process.versions.node.split(".")[0] >= 20')" != true ]; then
  node=./node
  [ -x node ] || { xz -dc node.xz >node && chmod +x node; }
fi

# A driver's own folder may not be where the loader looks; Chromium's SwiftShader serves where there is no GPU.
if [ -z "${VK_DRIVER_FILES:-}" ]; then
  for file in /usr/share/vulkan/icd.d/nvidia_icd.json /etc/vulkan/icd.d/nvidia_icd.json /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json; do
    if [ -e "$file" ]; then export VK_DRIVER_FILES=$file && break; fi
  done
  if [ -z "${VK_DRIVER_FILES:-}" ] && [ ! -e /dev/dri ] && [ -e /usr/lib/chromium/vk_swiftshader_icd.json ]; then
    export VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json
  fi
fi
if ! ldconfig -p | grep -q libvulkan.so.1; then export LD_LIBRARY_PATH=$PWD/lib:${LD_LIBRARY_PATH:-}; fi

torch=()
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  "$node" dist/command/list-rows.js >"$results/rows.json"
  python3 bench_torch.py "$results/rows.json" "$results/torch.json"
  torch=(--torch "$results/torch.json")
fi
"$node" dist/command/dawn.js --large --peers none "${torch[@]}" "$@"
