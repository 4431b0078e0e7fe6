#!/usr/bin/env bash
# Runs sanitize.ts under compute-sanitizer's memcheck, racecheck, initcheck and synccheck, all at once, and
# prints one line a tool. From the repository root:
#   [TOOLS="memcheck racecheck"] [LIMIT=240] [DEVICE=cuda:0] test/cuda1/sanitize.sh [node] [log folder]
# LIMIT: seconds for the cases of each tool; what is left out then is told. Products are not measured
# (WEFT_GEMM_TUNE=0) but estimated: WEFT_GEMM_TUNE=1 sends every kernel of the menu through the tools.
# SANITIZER_FLAGS: further options of compute-sanitizer. Exit code 1: a tool found something.
set -uo pipefail
node=${1:-node} logs=${2:-$(mktemp -d)}
sanitizer=${SANITIZER:-$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)}
limit=${LIMIT:-240} device=${DEVICE:-cuda:0}
mkdir -p "$logs"
export WEFT_GEMM_TUNE=${WEFT_GEMM_TUNE:-0} WEFT_CACHE=$logs/cache
# Bundled first: esbuild is a process of its own, which need not be looked at.
program=$("$node" -e "import('./dist/train/module-loader.js')
  .then((loader) => loader.locateTask('test/cuda1/sanitize.ts'))
  .then(({ url }) => console.log(new URL(url).pathname))") || exit 2

one() {
  # initcheck does not see what the menu's products store through TMA: there the plain kernel serves.
  [[ $1 == initcheck ]] && export WEFT_GEMM_MENU=0
  timeout --kill-after=10 $((limit + 90)) "$sanitizer" --tool "$1" --target-processes all \
    --report-api-errors no --error-exitcode 1 ${SANITIZER_FLAGS:-} \
    "$node" "$program" --device "$device" --seconds "$limit" >"$logs/$1.log" 2>&1
  code=$?
  summary=$(grep -hoE '(ERROR|RACECHECK) SUMMARY.*' "$logs/$1.log" | sort -u | paste -sd ';')
  cases=$(grep '^sanitize:' "$logs/$1.log" | tail -1)
  [[ $code == 124 || $code == 137 ]] && summary="timed out; $summary"
  echo "$1: exit $code; ${summary:-no summary}; ${cases:-nothing ran}"
  return $code
}

jobs=()
for tool in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
  one "$tool" &
  jobs+=($!)
done
worst=0
for job in "${jobs[@]}"; do wait "$job" || worst=1; done
echo "logs: $logs"
exit $worst
