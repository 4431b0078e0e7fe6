#!/usr/bin/env bash
# Builds a check program without CMake and without Node, from the repository root:
#   [CUTLASS=/path/to/cutlass] [NVCC=nvcc] [ARCH=90a] [JOBS=4] test/cuda/build_check.sh <folder> [program]
# Programs: gemm_attention_check (the default; CUTLASS is the folder that holds include/ and
# tools/util/include/), allocator_check, capture_check, gate_check, plugin_check,
# ring_sweep and topology_check (the fabric alone; plugin_check comes with ringallreduce.so). Objects are kept in the
# output folder and made again when their source is newer; headers are not tracked.
set -euo pipefail
out=${1:?output folder} program=${2:-gemm_attention_check}
nvcc=${NVCC:-nvcc} arch=${ARCH:-90a}
family="-DWEFT_GEMM_SM90=1 -DWEFT_ATTENTION_SM90=1" menu=sm90 attention=native/cuda/attention/sm90/*.cu
if [[ $arch == 10* ]]; then family=-DWEFT_GEMM_SM100=1 menu=sm100 attention=; fi
case $program in
  allocator_check | capture_check | gate_check | plugin_check | ring_sweep | topology_check)
    cutlass=
    own=test/cuda/$program.cc
    ;;
  gemm_attention_check)
    cutlass="-isystem ${CUTLASS:?folder of CUTLASS}/include -isystem $CUTLASS/tools/util/include"
    own=$(ls native/core/precision.cc native/cuda/tensor_map.cc native/gemm/*.cc native/cuda/gemm/*.cc native/cuda/gemm/*.cu \
      native/cuda/attention/*.cu native/cuda/attention/sm90/*.cc $attention native/cuda/gemm/menu/${menu}_*.cu test/cuda/*check.cu)
    ;;
  *)
    echo "no program $program: gemm_attention_check, allocator_check, capture_check, gate_check, plugin_check, ring_sweep or topology_check" >&2
    exit 2
    ;;
esac
mkdir -p "$out"
export out
export compile="$nvcc -std=c++20 -O3 -DNDEBUG -DWEFT_HAVE_CUDA=1 $family \
  --expt-relaxed-constexpr -diag-suppress=177 -Xcompiler=-fPIC \
  -gencode arch=compute_$arch,code=sm_$arch -I native -I fabric/include -I fabric/src -I test/cuda \
  -I test/cpp/fabric $cutlass"
sources="$(find fabric/src -name '*.cc' -o -path '*fabric/src/cuda/*.cu') $own"
sources=$(echo $sources | tr ' ' '\n')
one() {
  object=$out/$(echo "$1" | tr '/' '-').o
  if [[ ! -e $object || $1 -nt $object ]]; then
    echo "$1"
    $compile -c "$1" -o "$object.part"
    mv "$object.part" "$object"
  fi
}
export -f one
echo "$sources" | xargs -P "${JOBS:-4}" -I{} bash -c 'one {}'
objects=$(for s in $sources; do echo "$out/$(echo "$s" | tr '/' '-').o"; done)
$nvcc -cudart static -o "$out/$program" $objects -lpthread -ldl -lrt
if [[ $program == plugin_check ]]; then
  plugin=plugins/ringallreduce
  compile="$compile -I $plugin -isystem ${CUTLASS:-.weft/cutlass/cutlass_library/source}/include"
  sources=$(ls $plugin/*.cc $plugin/kernels/*.cu)
  echo "$sources" | xargs -P "${JOBS:-4}" -I{} bash -c 'one {}'
  objects=$(for s in $sources; do echo "$out/$(echo "$s" | tr '/' '-').o"; done)
  $nvcc -cudart static -shared -o "$out/ringallreduce.so" $objects -lpthread -ldl -lrt
fi
echo "$out/$program"
