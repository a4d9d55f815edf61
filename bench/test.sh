#!/usr/bin/env bash
# Runs the packed GPU tests: every case under each set of limits, several sets side by side, and the fuzzer; or the accuracy of all lengths.
#
#   bash test.sh [set ...] [-- option ...]
#   ACCURACY=8 bash test.sh
#
# Sets: default, compatibility, adapter, or the seed of a drawn one; all and 20 seeds where none is given. Options: --sample, --only TEXT, --skip TEXT.
# SIDE_BY_SIDE=8 how many at once; FUZZ=10000 how many cases of the fuzzer, 0 for none; RESULTS_DIR=results where the logs go.
# ACCURACY=0 in how many parts, side by side, the FFTs of all lengths are checked (npm run test:long) in place of all else; 0 for the cases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
results=${RESULTS_DIR:-results}
mkdir -p "$results"
. ./environment.sh

run_logged() {
  local log=$1 failed=
  shift
  "$@" >"$log" 2>&1 || failed=1
  tail -n 1 "$log"
  [ -z "$failed" ] || { echo "failed, see $log" && return 1; }
}
export -f run_logged
status=0

accuracy=${ACCURACY:-0}
if [ "$accuracy" -gt 0 ]; then
  seq "$accuracy" |
    xargs -P "$accuracy" -I{} bash -c 'run_logged "$@"' _ "$results/accuracy-{}.log" "$node" tests/tests.mjs accuracy --part "{}/$accuracy" || status=1
  exit $status
fi

sets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do sets+=("$1") && shift; done
[ $# -eq 0 ] || shift # what is left are options
[ ${#sets[@]} -gt 0 ] || mapfile -t sets < <(printf '%s\n' adapter default compatibility && seq 20)
fuzz=${FUZZ:-10000}

if [ "$fuzz" -gt 0 ]; then
  run_logged "$results/fuzz.log" "$node" tests/tests.mjs fuzz --cases "$fuzz" --seed "${SEED:-1}" &
  fuzzing=$!
fi
printf '%s\n' "${sets[@]}" |
  xargs -P "${SIDE_BY_SIDE:-8}" -I{} bash -c 'run_logged "$@"' _ "$results/limits-{}.log" "$node" tests/tests.mjs cases "$@" --limits {} || status=1
if [ "$fuzz" -gt 0 ]; then
  wait "$fuzzing" || status=1
fi
exit $status
