#!/usr/bin/env bash
# Device code built on the box that runs it: one with GPUs, nvcc, g++, CMake and the repository, but without Node and
# without a network. From the repository root:
#   test/cuda/box.sh pack <folder>          here: the bundle of `npm run bundle`, and the headers that compiling needs
#   test/cuda/box.sh build <folder> <out>   there: <out>/weft-linux-x64, the bundle with device code and its plugins
# CUTLASS comes from `npm run device-code`. ARCH: 90a. CUDA=off: no device code, to rehearse.
set -euo pipefail
verb=${1:?pack or build} folder=${2:?folder}
case $verb in
  pack)
    cutlass=.weft/cutlass/cutlass_library/source blas=.weft/python/scipy_openblas32
    for needed in .weft/bundle/weft-linux-x64.tar.xz $cutlass/include $blas/include node_modules/node-addon-api; do
      [[ -e $needed ]] || { echo "box.sh: no $needed: npm run bundle, npm run device-code" >&2; exit 2; }
    done
    mkdir -p "$folder"
    cp .weft/bundle/weft-linux-x64.tar.xz "$folder/"
    tar -cf "$folder/headers.tar.xz" -I 'xz -T2 -6' \
      --transform "s,^$cutlass,cutlass,;s,^$blas,blas,;s,^node_modules/,," \
      $cutlass/include $cutlass/tools/util/include $blas/include node_modules/node-api-headers/include \
      node_modules/node-addon-api
    ls -l "$folder"
    ;;
  build)
    out=${3:?output folder}
    mkdir -p "$out"
    out=$(readlink -f "$out")
    tar -C "$out" -xJf "$folder/weft-linux-x64.tar.xz"
    tar -C "$out" -xJf "$folder/headers.tar.xz"
    bundle=$out/weft-linux-x64
    mkdir -p "$out/blas/lib"
    cp "$bundle/build/Release/libscipy_openblas.so" "$out/blas/lib/"
    targets="weft ringallreduce swiglu"
    [[ ${CUDA:-on} == on ]] || targets=weft
    cmake -S . -B "$out/build" -DWEFT_BUILD_ADDON=ON -DWEFT_CUDA="${CUDA:-on}" \
      -DWEFT_CUDA_ARCHITECTURES="${ARCH:-90a}" -DWEFT_CUTLASS_DIR="$out/cutlass" -DWEFT_BLAS_DIR="$out/blas" \
      -DCMAKE_JS_INC="$out/node-api-headers/include;$out/node-addon-api" >"$out/configure.log"
    cmake --build "$out/build" --parallel "$(nproc)" --target $targets >"$out/compile.log" 2>&1 ||
      { grep -n -m 5 -A 5 'error' "$out/compile.log" >&2; exit 1; }
    find "$out/build" \( -name weft.node -o -name ringallreduce.so -o -name swiglu.so \) \
      -exec cp {} "$bundle/build/Release/" \;
    "$bundle/weft" doctor
    ;;
  *)
    echo "box.sh: pack or build, not $verb" >&2
    exit 2
    ;;
esac
