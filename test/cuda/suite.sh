#!/usr/bin/env bash
# Everything that several GPUs of one host are to show, measured beside NCCL and PyTorch in one go:
#   test/cuda/suite.sh <bundle> <logs> [part ...]
# <bundle>: a folder that `npm run bundle` made, unpacked, whose addon and plugins have device code for these GPUs.
# Parts, all in this order unless some are named (seconds on two H100, about):
#   devices      topology and tests of all pairs                                     20
#   fabric       host time of calls, records and snapshots                           10
#   p2p          a pair by copy engine, stores, TMA                                  30
#   allreduce    f32, every algorithm beside NCCL's three modes, 8 B to 4 GiB       150
#   bf16         the same in bf16, to 1 GiB                                          60
#   ring         NCCL held to its ring                                               40
#   scatter      reduce-scatter and all-gather                                       80
#   overlap      products beside all-reduces, by processors                          60
#   tune         choices of all-reduce, written under the logs                       60
#   torch        PyTorch: one GPU, and DistributedDataParallel over all             200
#   scaling      training on one GPU and on all, weak and strong, beside PyTorch    120
# A log a part, JSON as its last line; a line each here with exit code and time. Ends with 1 when a part failed.
# DEVICES (cuda), PLUGIN (ringallreduce), WORKS ("reverse vit minigpt"), PRECISION (tf32 or bf16), LIMIT (seconds a
# part, 300). On a machine without GPUs, as a rehearsal: DEVICES=host:0-1 PLUGIN= QUICK=1.
set -u
bundle=${1:?folder of a bundle} logs=${2:?folder of logs}
shift 2
parts=${*:-devices fabric p2p allreduce bf16 ring scatter overlap tune torch scaling}
export devices=${DEVICES:-cuda} works=${WORKS:-reverse vit minigpt} precision=${PRECISION:-tf32} limit=${LIMIT:-300}
plugin=(--plugin "${PLUGIN-ringallreduce}")
[ -n "${PLUGIN-ringallreduce}" ] || plugin=()
most=4G some=1G seconds=3
[ -z "${QUICK:-}" ] || most=1M some=64K seconds=0.3
mkdir -p "$logs"
logs=$(readlink -f "$logs")
bundle=$(readlink -f "$bundle")
export logs bundle most some seconds
export torch_log=$logs/torch.jsonl
tasks=()
for work in $works; do tasks+=("$bundle/bench/training/tasks/$work.ts"); done

weft() { "$bundle/weft" "$@"; }
bench() { weft bench "$@" --devices "$devices" --json; }

devices() { weft devices --probe --devices "$devices" --json; }
fabric() {
  "$bundle/run-bench" fabric "${plugin[@]}" --devices "$([ "$devices" = cuda ] && echo cuda:0,cuda:1 || echo "$devices")"
}
p2p() { bench p2p --min 4K --max "$some" --factor 8; }
allreduce() { bench allreduce "${plugin[@]}" --max "$most" --factor 2 --svg "$logs/allreduce.svg"; }
bf16() { bench allreduce "${plugin[@]}" --max "$some" --factor 4 --dtype bf16; }
ring() { NCCL_ALGO=Ring bench allreduce "${plugin[@]}" --max "$some" --factor 8; }
scatter() {
  bench reducescatter "${plugin[@]}" --max "$some" --factor 4 &&
    bench allgather "${plugin[@]}" --max "$some" --factor 4
}
overlap() { bench overlap "${plugin[@]}" --ctas 8,16,32; }
tune() { WEFT_CACHE=$logs/cache weft tune "${plugin[@]}" --devices "$devices" --json; }
torch() {
  local names=${works// /,} gpus scaling
  gpus=$(nvidia-smi -L 2>/dev/null | wc -l)
  local side=bench/torch/training.py type=f32
  [ "$precision" != bf16 ] || type=bf16
  cd "$bundle" || return 1
  PRECISION=$type python3 "$side" "$names" >"$torch_log" || return 1
  for scaling in weak strong; do
    PRECISION=$type SCALING=$scaling torchrun --nproc-per-node "$gpus" "$side" "$names" >>"$torch_log" ||
      return 1
  done
  cat "$torch_log"
}
scaling() {
  local beside=()
  [ ! -s "$torch_log" ] || beside=(--beside "$torch_log")
  bench scaling "${tasks[@]}" --precision "$precision" --seconds "$seconds" "${beside[@]}" &&
    bench scaling "${tasks[@]}" "${plugin[@]}" --precision "$precision" --seconds "$seconds" "${beside[@]}"
}

failed=0
for part in $parts; do
  if [ "$(type -t "$part")" != function ]; then
    echo "no part $part" >&2
    exit 2
  fi
  start=$SECONDS code=0
  # In a shell of its own, so that the limit ends whatever it started.
  export -f "$part" weft bench
  timeout -k 5 "$limit" bash -c "$(declare -p plugin tasks); $part" >"$logs/$part.txt" 2>"$logs/$part.err" || code=$?
  echo "$part: exit $code, $((SECONDS - start)) s"
  [ "$code" = 0 ] || { failed=1; tail -n 3 "$logs/$part.err"; }
done
exit "$failed"
