#!/usr/bin/env bash
# xp submit on a real Slurm: an array of small runs beside a local one, and a task that Slurm signals before its
# time limit, which checkpoints, goes back into the queue and ends with the same bytes. Not part of CI.
# usage: tests/slurm/run.sh XP      sbatch, squeue and scontrol must reach a cluster; the working folder must be shared
set -euo pipefail
xp=$(realpath "$1")
here=$(cd "$(dirname "$0")/../.." && pwd)
# A path with a space, as users have.
work=$(mktemp -d "${TMPDIR:-/tmp}/xp slurm.XXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
cp "$here/tests/specs/valid/tiny.toml" .
export XP_CACHE=$work/cache
fail() { echo "tests/slurm/run.sh: $1" >&2; cat results/submit/*/logs/* 2>/dev/null >&2; exit 1; }
# Waits until no job of the list is left, five times in a row: between two lives a task can be in no list. A
# requeued one is held for minutes, unless its start is moved; in the second of its requeueing it would be killed.
await() {
    local gone=0
    for second in $(seq 400); do
        if [ -n "$(squeue --noheader --jobs "$1" 2>/dev/null)" ]; then gone=0; else gone=$((gone + 1)); fi
        [ "$gone" -lt 5 ] || return 0
        for task in $(squeue --noheader --states PENDING --array --format %i --jobs "$1" 2>/dev/null); do
            [ $((second % 10)) -ne 0 ] || scontrol update "JobId=$task" StartTime=now+3 2>/dev/null || true
        done
        sleep 1
    done
    fail "job $1 did not end"
}
same() {
    for file in run.json eval.jsonl train.jsonl weights.safetensors; do
        cmp "$1/$file" "$2/$file" || fail "$2 has other bytes"
    done
}

"$xp" run tiny.toml --results whole --quiet >/dev/null
jobs=$("$xp" submit tiny.toml --slurm --max-parallel 2 --report --quiet)
echo "$jobs"
await "$(echo "${jobs##*: }" | tr ' ' ,)"
for run in geo/seed-1 geo/seed-2 mix_a0.2/seed-1 mix_a0.2/seed-2; do same "whole/tiny/$run" "results/tiny/$run"; done
grep -q 'geo' results/submit/*/logs/report.log || fail 'no report'
echo 'an array: four runs, the bytes of a local run, and the report after them'

# A run of more than a minute on a limit of one: Slurm gives the signal some seconds before.
long=(--set "schedule.max_steps=${STEPS:-30000}" --set data.train.max_tokens=40000000 --set 'experiment.seeds=[1]' --name long)
"$xp" run tiny.toml --results whole --only geo --quiet "${long[@]}" >/dev/null
rm -rf results/submit
# The grace is counted by the scheduler's own clock, which looks every 30 s or so.
jobs=$("$xp" submit tiny.toml --slurm --time 1 --grace 50 --quiet "${long[@]}")
await "${jobs##*: }"
same whole/long/geo/seed-1 results/long/geo/seed-1
lives=$(cat results/submit/*/logs/*_0.log | grep -c 'xp left with 75' || true)
[ "$lives" -gt 0 ] || fail 'it was never signalled: more STEPS are needed on this machine'
echo "a time limit: $lives times signalled, checkpointed and requeued; the same bytes"
