#!/usr/bin/env bash
# Builds the kernel checks without CMake, from the repository root:
#   [NVCC=nvcc] [ARCH=90a] [JOBS=4] [MUTATION=0] [JITTER=0] [CUTLASS=folder] test/cuda/ring_kernels/build.sh <folder>
# CHECKS=folder takes what is not of the plugin from that build, which had no mutation: kernels alone are compiled.
# A mutation breaks the protocol in one place (plugins/ringallreduce/kernels/memory.cuh): its program
# must fail. With JITTER=1 threads dawdle between steps: the unbroken program must pass then too.
set -euo pipefail
export out=${1:?output folder} kernels=plugins/ringallreduce/kernels checks=test/cuda/ring_kernels
cutlass=${CUTLASS:-.weft/cutlass/cutlass_library/source}
nvcc=${NVCC:-nvcc} arch=${ARCH:-90a}
mkdir -p "$out"
export compile="$nvcc -std=c++20 -O3 -DNDEBUG -DWEFT_MUTATION=${MUTATION:-0} -DWEFT_JITTER=${JITTER:-0} -diag-suppress=177,445 -Xptxas=-v \
  -gencode arch=compute_$arch,code=sm_$arch --expt-relaxed-constexpr -I $kernels -I $checks -isystem $cutlass/include"
one() {
  log=$out/$(basename "$1").log
  $compile -c "$1" -o "$out/$(basename "$1").o" >"$log" 2>&1 || { cat "$log"; exit 1; }
  if grep -E "C7510|error" "$log"; then exit 1; fi
}
export -f one
own=$(ls $checks/*.cu $checks/*.cc)
others=
if [[ -n ${CHECKS:-} ]]; then
  for file in $own; do others="$others $CHECKS/$(basename "$file").o"; done
  own=
fi
ls $kernels/*.cu $own | xargs -P "${JOBS:-4}" -I{} bash -c 'one {}'
$nvcc -cudart static -o "$out/ring_kernels" "$out"/*.o $others -lpthread -ldl -lrt
