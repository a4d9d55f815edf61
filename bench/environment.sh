# Sourced by run.sh and test.sh: finds Node, the graphics driver, and a Vulkan loader, or takes those in this folder.
# shellcheck shell=bash
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
