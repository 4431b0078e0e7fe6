#!/usr/bin/env bash
# All checks of the ring plugin that one GPU can do, as 2, 4 and 8 virtual devices, from programs that are built; from
# the repository root:
#   test/cuda/ring_kernels/one_gpu.sh build <folder>                    no GPU needed; some minutes on two cores
#   [BUDGET=600] test/cuda/ring_kernels/one_gpu.sh run <folder> <logs> [part ...]
# Parts, in this order unless some are named: bits-2 plugin-2 wide-2 soak-2 mutations held memcheck racecheck bits-8
# plugin-8 huge wide-8 soak-8 bits-4 plugin-4 soak-4. A part that does not begin within BUDGET seconds is said and left
# out. Prints a table; a log a part. Ends with 1 when the unbroken program failed anywhere, or a mutation that one GPU
# shows (4, 5, 6; MUTATIONS="0 1 2 3 4 5 6" tries all) was not caught.
set -u
verb=${1:?build or run} build=${2:?folder}
here=test/cuda/ring_kernels
if [[ $verb == build ]]; then
  set -e
  mkdir -p "$build"
  $here/build.sh "$build/0"
  cat "$build"/0/*.cu.log >"$build/ptxas.txt"
  for m in 0 1 2 3 4 5 6; do CHECKS=$build/0 JITTER=1 MUTATION=$m $here/build.sh "$build/jitter-$m"; done
  test/cuda/build_check.sh "$build/plugin" plugin_check
  exit
fi
logs=${3:?log folder}
shift 3
parts=${*:-bits-2 plugin-2 wide-2 soak-2 mutations held memcheck racecheck bits-8 plugin-8 huge wide-8 soak-8 bits-4 plugin-4 soak-4}
mkdir -p "$logs"
program=$build/0/ring_kernels failed=0
all=edges,replay,faults,phases,fuzz,split
declare -A devices=([2]=0,0 [4]=0,0,0,0 [8]=0,0,0,0,0,0,0,0)
sanitizer=${SANITIZER:-compute-sanitizer}

# row NAME LIMIT WANTED COMMAND...: WANTED is pass, fail or any; a sanitizer ends with 9 when it found something
row() {
  local name=$1 limit=$2 wanted=$3 code=0 start=$SECONDS verdict=good
  shift 3
  if [[ ($1 == */* && ! -x $1) || ! -x $program ]]; then
    failed=1
    echo "| $name | not built | | |"
    return
  fi
  timeout -k 5 "$limit" "$@" >"$logs/$name.txt" 2>&1 || code=$?
  case $wanted in
    pass) [[ $code == 0 ]] || verdict=FAILED ;;
    fail) [[ $code == 1 ]] && verdict=caught || verdict=FAILED ;;  # 1: wrong results or records, nothing else
    any) [[ $code == 0 ]] && verdict=unseen || verdict="exit $code" ;;
  esac
  ! grep -q ^SKIP "$logs/$name.txt" || verdict=FAILED
  [[ $verdict != FAILED ]] || failed=1
  printf '| %s | %s | %s | %s s |\n' "$name" "$verdict" "$(tail -n 1 "$logs/$name.txt" | cut -c 1-110)" $((SECONDS - start))
}

plugin() {
  local names=()
  for ((i = 0; i < $1; ++i)); do names+=("cuda:0/$i"); done
  row "plugin-$1" 60 pass "$build/plugin/plugin_check" "$build/plugin/ringallreduce.so" "${names[@]}"
}

# checked TOOL WANTED: a short soak under it
checked() {
  local name=$1${WITHOUT:+-without-$WITHOUT}
  OPERATIONS=400 LIMIT_MS=60000 row "$name" 90 "$2" "$sanitizer" --tool "$1" --error-exitcode 9 "$program" 0,0 soak
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
printf '| part | | | |\n|---|---|---|---|\n'
for part in $parts; do
  if ((SECONDS > ${BUDGET:-600})); then
    echo "| $part | not run | | |"
    continue
  fi
  ranks=${part##*-}
  case $part in
    bits-*) row "$part" 70 pass "$program" "${devices[$ranks]}" $all "${FUZZ:-4}" ;;
    soak-2) row "$part" 90 pass "$program" 0,0 soak ;;
    soak-4) OPERATIONS=300000 row "$part" 60 pass "$program" "${devices[4]}" soak ;;
    soak-8) OPERATIONS=100000 row "$part" 60 pass "$program" "${devices[8]}" soak ;;
    wide-2) row "$part" 60 pass "$program" 0,0 wide "${FUZZ:-10}" ;;
    wide-8) ELEMENTS=$((1 << 26)) row "$part" 60 pass "$program" "${devices[8]}" wide "${FUZZ:-10}" ;;
    plugin-*) plugin "$ranks" ;;
    huge | held) row "$part" 60 pass "$program" 0,0 "$part" ;;
    memcheck) checked memcheck pass ;;
    racecheck)
      WITHOUT=ring checked racecheck pass
      # It follows neither st.release.cta nor waits for mbarriers: what it says of the ring has to be read.
      checked racecheck any
      ;;
    mutations)
      for m in ${MUTATIONS:-0 4 5 6}; do
        case $m in 0) wanted=pass ;; [123]) wanted=any ;; *) wanted=fail ;; esac
        row "mutation-$m" 30 $wanted "$build/jitter-$m/ring_kernels" 0,0 fuzz,split 2
      done
      ;;
    *)
      echo "no part $part" >&2
      exit 2
      ;;
  esac
done
echo "---- failures, and what did not pass"
grep -E "^(FAIL|FATAL)|^    |FAILED|Error|ERROR SUMMARY|RACECHECK SUMMARY" "$logs"/*.txt | grep -v "/mutation-[1-6]" | sed "s,^$logs/,," | head -n 60
echo "---- counts"
grep -h -E "^(fuzz|split|edges|phases|faults|replay|wide|soak|huge|held|plugin)" "$logs"/{bits,soak,wide,huge,held,plugin}*.txt 2>/dev/null | head -n 200
exit $failed
