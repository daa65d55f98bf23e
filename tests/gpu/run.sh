#!/usr/bin/env bash
# The checks that need a GPU, and the benchmark against PyTorch on it: needs the folder that
# tests/gpu/pack.sh has made and nothing else (no network, no Rust); python3 with torch for the
# benchmark, compute-sanitizer for its checks, where they are there.
#
# Every step has a time limit, and none goes on when ten minutes are almost over. Prints one table, and writes
# OUT/result.json and OUT/*.log.
# usage: run.sh [OUT [STEP...]]      default: ./gpu-out and every step
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-gpu-out}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XP_CACHE=$work/cache
rows=()
chosen=("${@:2}")

# When the last step has to have ended, in seconds.
readonly END=570

# step NAME SECONDS COMMAND...: its log to OUT/NAME.log, its outcome to the table. The last line of
# the log is its detail.
step() {
    local name=$1 limit=$2 start=$SECONDS status detail
    shift 2
    [ ${#chosen[@]} = 0 ] || [[ " ${chosen[*]} " = *" $name "* ]] || return 0
    [ $((END - start)) -ge "$limit" ] || limit=$((END - start))
    if [ "$limit" -le 0 ]; then
        status='no time'
        : >"$out/$name.log"
    else
        timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1
        case $? in
        0) status=ok ;;
        77) status=skipped ;;
        124 | 137) status="over $limit s" ;;
        *) status=FAILED ;;
        esac
    fi
    detail=$(grep -v '^ *$' "$out/$name.log" | tail -n 1 | tr -d '"\\' | cut -c 1-160)
    rows+=("$name|$status|$((SECONDS - start))|$detail")
    printf '%-12s %-8s %4d s  %s\n' "$name" "$status" $((SECONDS - start)) "$detail"
}

XP_CUDA_LIB_DIRS=${XP_CUDA_LIB_DIRS:-$("$here/cuda-libraries.sh")}
export XP_CUDA_LIB_DIRS

doctor() { "$here/xp" doctor; "$here/xp" doctor --json >"$out/doctor.json"; grep -q '"problem": null' "$out/doctor.json"; }

tests() {
    "$here/cuda-tests" --nocapture --test-threads 4 "$1" | tee "$out/tests-$1.txt"
    local rc=${PIPESTATUS[0]}
    # Without a GPU every test passes by saying so: that is no pass.
    ! grep -m 1 'skipped:' "$out/tests-$1.txt" || return 77
    return "$rc"
}

sanitizer() {
    local tool
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /opt/nvidia/*/compute-sanitizer 2>/dev/null | head -n 1)
    [ -n "$tool" ] || { echo 'compute-sanitizer is not installed'; return 77; }
    # Large shapes are for speed; under the sanitizer one test at a time. Every call's result is checked, and a kernel
    # is looked for in one module after the other: a call that fails is no finding.
    "$tool" --tool "$1" --report-api-errors no --error-exitcode 1 "$here/cuda-tests" --test-threads 1 operators --skip cross_entropy
}

mini() { "$here/xp" run "$here/mini.toml" --quiet --results "$work/$1" --device "$2" "${@:3}"; }

# Largest difference of two sets of results in mean loss (nats); fails above a limit.
compare() {
    "$here/xp" report "$here/mini.toml" --results "$work/$1" --format csv --quiet >/dev/null
    "$here/xp" report "$here/mini.toml" --results "$work/$2" --format csv --quiet "${@:4}" >/dev/null
    awk -F, -v limit="$3" -v what="$1 and $2" '
        FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        { key = $at["config"] " " $at["seed"] " " $at["eval_len"] }
        NR == FNR { nll[key] = $at["nll"]; next }
        { d = $at["nll"] - nll[key]; if (d < 0) d = -d; if (d > most) most = d; n++ }
        END { printf "%s: %d results differ by at most %.2e nats (limit %s)\n", what, n, most, limit; exit !(n > 0 && most <= limit) }
    ' "$work/$1"/*/report/runs.csv "$work/$2"/*/report/runs.csv
}

agree() {
    mini cpu cpu && mini cuda cuda && mini bf16 cuda --set schedule.precision=bf16 &&
        compare cpu cuda 1e-5 && compare cpu bf16 1e-2 --set schedule.precision=bf16
}

# Lines of a train.jsonl, which may not be there yet.
steps() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }

# The same run whole, and stopped by a signal, then gone on with. Stopped after so many steps, not seconds: cards
# differ.
resume() {
    local set=(--set schedule.precision=bf16 --set schedule.max_steps=3000 --only geo) rc pid
    local log=$work/stopped/gpu_mini/geo/seed-1/train.jsonl
    mini whole cuda "${set[@]}" || return 1
    "$here/xp" run "$here/mini.toml" --quiet --results "$work/stopped" --device cuda "${set[@]}" &
    pid=$!
    until [ "$(steps "$log")" -ge 500 ] || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
    kill -TERM $pid
    wait $pid
    rc=$?
    [ $rc = 75 ] || { echo "it was not stopped on its way (exit $rc, $(steps "$log") steps)"; return 1; }
    echo "stopped after $(steps "$log") steps"
    mini stopped cuda "${set[@]}" || return 1
    for file in run.json weights.safetensors train.jsonl; do
        cmp "$work"/whole/gpu_mini/geo/seed-1/$file "$work"/stopped/gpu_mini/geo/seed-1/$file || return 1
    done
    echo 'stopped and resumed: the same run.json, weights and log, byte for byte'
}

bench() {
    python3 -c 'import torch, safetensors; assert torch.cuda.is_available()' 2>/dev/null || { echo 'python3 has no torch with CUDA'; return 77; }
    python3 "$here/run.py" --device cuda --sizes R,E --rounds 2 --xp "$here/step" --out "$out/bench.json"
}

# The last one with the other kernels of attention, where the card has both.
speed() {
    "$here/step" --device cuda R
    "$here/step" --device cuda --chunks 10 E
    "$here/step" --device cuda R
    echo 'without warpgroups:'
    XP_CUDA_NO_WARPGROUPS=1 "$here/step" --device cuda R
}

profile() { "$here/step" --device cuda --steps 5 --profile R; "$here/step" --device cuda --profile E; }

export here out work
export -f doctor tests sanitizer mini compare agree steps resume bench speed profile
step doctor 20 bash -c doctor
# What the instructions of warpgroups compute, before anything else relies on them: a wrong kernel of one
# card's own must not hide everything else.
step attention 25 bash -c 'tests attention'
case ${rows[*]} in *attention\|FAILED\|* | *attention\|over*) export XP_CUDA_NO_WARPGROUPS=1 && echo 'going on without warpgroups' ;; esac
step speed 40 bash -c speed
step profile 20 bash -c profile
for part in operators model repeat; do step "$part" 55 bash -c "tests $part"; done
step agree 60 bash -c agree
step resume 50 bash -c resume
step bench 220 bash -c bench
for tool in memcheck racecheck; do step "$tool" 35 bash -c "sanitizer $tool"; done

{
    printf '{"date":"%s","steps":[' "$(date -u +%F)"
    comma=
    for row in "${rows[@]}"; do
        IFS='|' read -r name status seconds detail <<<"$row"
        printf '%s\n {"name":"%s","status":"%s","seconds":%d,"detail":"%s"}' "$comma" "$name" "$status" "$seconds" "$detail"
        comma=,
    done
    printf '],\n"doctor":%s,\n' "$(cat "$out/doctor.json" 2>/dev/null || echo null)"
    printf '"bench":%s}\n' "$(cat "$out/bench.json" 2>/dev/null || echo null)"
} >"$out/result.json"
[ ${#rows[@]} -ge $((${#chosen[@]} > 0 ? ${#chosen[@]} : 1)) ] || { echo "no such step among: ${chosen[*]}" >&2; exit 2; }
echo
cat "$out"/{speed,profile,bench}.log 2>/dev/null
! printf '%s\n' "${rows[@]}" | grep -qE '\|(FAILED|over |no time)'
