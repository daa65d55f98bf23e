#!/usr/bin/env bash
# The experiment of specs/3cfg_3seed_gpu.toml on a GPU, and PyTorch on some of its runs: needs the folder that
# tests/gpu/pack.sh has made and nothing else; python3 with torch and safetensors for PyTorch's curves.
#
# Ends by itself: the runs are interrupted (and resumed by the next call with the same OUT) when the time
# is up. Writes OUT/experiment.tar.gz (results without weights, the report, PyTorch's curves) and OUT/*.log.
# DEVICE=cpu for a trial without a GPU, CURVES_SECONDS for the part that is PyTorch's. KNOWN=1: with the runs that
# the repository has, so that only PyTorch's curves are made.
# usage: experiment.sh [OUT] [SECONDS] [KEY=VALUE...]      default: ./gpu-out 570; keys of the spec
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-gpu-out}
end=$((SECONDS + ${2:-570}))
device=${DEVICE:-cuda}
keys=("data.tokenizer=\"$here/tokenizer.json\"" "output.keep_weights=false" "${@:3}")
mkdir -p "$out/experiment"
out=$(cd "$out" && pwd)
# The last things to be done, in seconds: the report and the archive.
readonly last=15
spec=("$here/specs/3cfg_3seed_gpu.toml")
for key in "${keys[@]}"; do spec+=(--set "$key"); done
export XP_CACHE=${XP_CACHE:-$out/cache}
XP_CUDA_LIB_DIRS=${XP_CUDA_LIB_DIRS:-$("$here/cuda-libraries.sh")}
export XP_CUDA_LIB_DIRS

left() { echo $((end - SECONDS - last)); }
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

"$here/xp" data "${spec[@]}" >"$out/data.log" 2>&1 || { tail "$out/data.log"; exit 1; }
say "tokens are made"
results=$out/experiment/results
if [ -n "${KNOWN:-}" ] && [ ! -d "$results" ]; then cp -r "$here/results" "$results"; fi
# PyTorch's curves need their time: one on a GPU takes about two minutes.
timeout --signal INT --kill-after 30 "$(($(left) - ${CURVES_SECONDS:-120}))" "$here/xp" run "${spec[@]}" \
    --results "$results" --device "$device" >"$out/run.log" 2>&1
rc=$?
say "xp run ended with $rc (75: interrupted, call again with the same folder)"

python3 -c 'import torch, safetensors' 2>/dev/null && for run in "$results"/*/*/seed-42; do
    config=$(basename "$(dirname "$run")")
    made=$out/experiment/pytorch-$config.json
    [ -s "$run/run.json" ] && [ ! -s "$made" ] && [ "$(left)" -gt 60 ] || continue
    inputs=$(mktemp -d)/inputs
    curve=(train "$inputs" "$run" --out "$made" --device "$device")
    [ "$device" = cpu ] || curve+=(--compile)
    { "$here/inputs" "${spec[0]}" "$config" 42 "$inputs" "${keys[@]}" &&
        timeout "$(left)" python3 "$here/curve.py" "${curve[@]}"; } 2>"$out/curve-$config.log" ||
        say "no curve of $config: $(tail -n 1 "$out/curve-$config.log")"
    rm -rf "${inputs%/inputs}"
done

ls "$out"/experiment/pytorch-*.json >/dev/null 2>&1 &&
    python3 "$here/curve.py" plot "$out"/experiment/pytorch-*.json --out "$out/experiment/curves.svg"
"$here/xp" report "${spec[@]}" --results "$results" --quiet
tar -czf "$out/experiment.tar.gz" -C "$out" --exclude='*.safetensors' --exclude=tb experiment
say "$(du -h "$out/experiment.tar.gz" | cut -f 1) in $out/experiment.tar.gz"
exit "$rc"
