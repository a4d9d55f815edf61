#!/usr/bin/env bash
# Runs the packed GPU tests: every case under each set of limits, several sets side by side, then the fuzzer.
#
#   bash test.sh [set ...] [-- option ...]
#
# Sets: default, compatibility, adapter, or the seed of a drawn one; all and 20 seeds where none is given. Options: --sample, --only TEXT, --skip TEXT.
# SIDE_BY_SIDE=8 how many at once; FUZZ=10000 how many cases of the fuzzer, 0 for none; RESULTS_DIR=results where the logs go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
results=${RESULTS_DIR:-results}
mkdir -p "$results"
. ./environment.sh

sets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do sets+=("$1") && shift; done
[ $# -eq 0 ] || shift # what is left are options
[ ${#sets[@]} -gt 0 ] || mapfile -t sets < <(printf '%s\n' adapter default compatibility && seq 20)
fuzz=${FUZZ:-10000}

run_set() { # never fails itself: the log's last line tells
  local log=$1 set=$2
  shift 2
  "$@" --limits "$set" >"$log/limits-$set.log" 2>&1 || true
  tail -n 1 "$log/limits-$set.log"
}
export -f run_set
if [ "$fuzz" -gt 0 ]; then
  "$node" tests/tests.mjs fuzz --cases "$fuzz" --seed "${SEED:-1}" >"$results/fuzz.log" 2>&1 &
  fuzzing=$!
fi
printf '%s\n' "${sets[@]}" |
  xargs -P "${SIDE_BY_SIDE:-8}" -I{} bash -c 'run_set "$@"' _ "$results" {} "$node" tests/tests.mjs cases "$@"
status=0
if [ "$fuzz" -gt 0 ]; then
  wait "$fuzzing" || status=1
  tail -n 1 "$results/fuzz.log"
fi
for set in "${sets[@]}"; do
  grep -q '^limits .*: [1-9][0-9]* passed, 0 failed' "$results/limits-$set.log" || { echo "limits $set: failed, see $results/limits-$set.log" && status=1; }
done
exit $status
