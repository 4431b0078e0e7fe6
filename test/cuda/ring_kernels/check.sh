#!/usr/bin/env bash
# Builds the kernel checks and runs all of them in some 420 s, from the repository root on a machine with one or more
# GPUs (one_gpu.sh: what one GPU can do, from programs that were built elsewhere):
#   test/cuda/ring_kernels/check.sh <build folder> <log folder>
# One log a run. Prints a line for each: its exit code and its total. Mutations, and the unbroken program
# as jitter-0, are built so that threads dawdle; a mutation must not end with 0: a line says which one was
# caught on two GPUs (0,1) and which on one (0,0).
set -u
build=${1:?build folder} logs=${2:?log folder}
here=test/cuda/ring_kernels
export NVCC=${NVCC:-nvcc}
mkdir -p "$build" "$logs"
mutations="1 2 3 4 5 6"
cores=$(nproc)

JOBS=$cores $here/build.sh "$build/0" >"$logs/build.txt" 2>&1 || { tail -n 20 "$logs/build.txt"; exit 1; }
echo "built at $SECONDS s"
cat "$build"/0/*.cu.log >"$logs/ptxas.txt"
(
  for m in 0 $mutations; do
    CHECKS=$build/0 JITTER=1 MUTATION=$m JOBS=$((cores / 5 + 1)) nice $here/build.sh "$build/jitter-$m" >"$logs/build-$m.txt" 2>&1 &
  done
  wait
) &
mutants=$!

# run NAME LIMIT MUTATION ARGUMENTS...
run() {
  local name=$1 limit=$2 program=$build/$3/ring_kernels code=0
  shift 3
  timeout -k 5 "$limit" "$program" "$@" >"$logs/$name.txt" 2>&1 || code=$?
  echo "$name: exit $code, $(tail -n 1 "$logs/$name.txt") ($SECONDS s)"
}

all=edges,replay,faults,phases,fuzz,split
run two-gpus 60 0 0,1 $all 12
run held 60 0 0,1 held
run soak 120 0 0,1 soak
run huge 60 0 0,1 huge
run wide 40 0 0,1 wide 10
gpus=$(nvidia-smi -L | wc -l)
one=0 other=$((gpus > 1 ? 1 : 0))
(
  export CUDA_VISIBLE_DEVICES=$other
  run virtual-8 65 0 0,0,0,0,0,0,0,0 $all 12
) &
virtual=$!
[ "$gpus" -gt 1 ] || wait $virtual
(
  export CUDA_VISIBLE_DEVICES=$one
  run virtual-2 40 0 0,0 $all 6
  run virtual-3 40 0 0,0,0 $all 6
)
wait $virtual
wait $mutants
run timing 65 0 0,1 timing 0 50
for m in 0 $mutations; do
  if [ ! -e "$build/jitter-$m/ring_kernels" ]; then
    echo "mutation $m was not built"
    continue
  fi
  CUDA_VISIBLE_DEVICES=$one run mutation-$m-one 30 "jitter-$m" 0,0 fuzz,split 5 &
  first=$!
  [ "$gpus" -gt 1 ] || { wait $first; continue; }
  wait $first
  run mutation-$m-two 30 "jitter-$m" 0,1 fuzz,split 5
done
wait
echo "---- failures of the unbroken program"
grep -h -E "^(FAIL|FATAL)|^    " "$logs"/{two-gpus,held,soak,huge,wide,virtual-*,timing}.txt | head -n 60
echo "---- sums"
grep -h -E "^(fuzz|split|edges|faults|phases|replay|wide|BEST|limit|timing)" "$logs"/{two-gpus,wide,virtual-*,timing}.txt
