#!/usr/bin/env bash
# Runs a build with the feature `cuda` against a stand-in for the driver and cuBLAS: that every call
# is one that they know, every matrix lies in its memory, and all memory is given back.
# usage: tests/gpu/stand_in.sh XP       a binary built with --features cuda
set -euo pipefail
cd "$(dirname "$0")/../.."

xp=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# One library under both names: they share the list of what is allocated.
cc -shared -fPIC -w -o "$work/libcuda.so.1" tests/gpu/stand_in.c
ln -s libcuda.so.1 "$work/libcublas.so.13"
export LD_LIBRARY_PATH=$work XP_CUDA_LIB_DIRS='' XP_CACHE=$work/cache
run() { "$xp" run tests/gpu/mini.toml --quiet --results "$work/$1" --set schedule.max_steps=2 "${@:2}" >"$work/log" 2>&1; }
fail() { cat "$work/log"; echo "tests/gpu/stand_in.sh: $1" >&2; exit 1; }

"$xp" doctor --json | grep -q '"name": "stand-in"' || fail 'xp doctor does not see the stand-in'
run f32 --device cuda || fail 'a run in f32'
grep -q 'all memory given back' "$work/log" || fail 'nothing was launched'
run bf16 --devices cuda:0,cuda:1 --set schedule.precision=bf16 || fail 'runs in bf16 on two devices'
grep -q 'all memory given back' "$work/log" || fail 'nothing was launched'
# More weights than page-locked memory holds at once.
run wide --device cuda --only geo --set model.hidden_size=1024 --set model.heads=16 || fail 'a run of a wider model'
grep -q 'all memory given back' "$work/log" || fail 'nothing was launched'
grep -q '"device_class": "cuda sm_90a, 132 multiprocessors' "$work"/bf16/gpu_mini/geo/seed-1/provenance.json || fail 'another device class'
! NVIDIA_TF32_OVERRIDE=1 run tf32 --device cuda || fail 'a run in f32 that would be TF32'
grep -q 'NVIDIA_TF32_OVERRIDE is set' "$work/log" || fail 'the variable is not named'
rc=0; STAND_IN_LAUNCHES=300 run lost --devices cuda:0,cuda:1 --set experiment.seeds=[1,2,3] || rc=$?
[ $rc = 3 ] && grep -q '1 of 6 runs failed$' "$work/log" || fail 'a device that is lost fails more than its run'
grep -q 'all memory given back' "$work/log" || fail 'a device that is lost'

# Where a driver cannot be used `auto` computes on the CPU and says why, and `cuda` is refused; of one that sees
# no GPU, as on the login node of a cluster, `auto` says nothing.
unusable() { # VARIABLE=VALUE, what is said
    (export "$1" && run "$1" --device auto && grep -q "$2" "$work/log") || fail "--device auto with $1"
    (export "$1" && ! run "$1" --device cuda && grep -q "$2" "$work/log") || fail "--device cuda with $1"
}
unusable STAND_IN_INIT=803 'the NVIDIA driver does not answer'
unusable STAND_IN_MAJOR=7 'cuda:0 has compute capability 7.0, for which this xp has no kernels'
STAND_IN_INIT=100 run none --device auto || fail '--device auto without a GPU'
! grep -q 'GPU is' "$work/log" || fail 'a note that there is no GPU'
! STAND_IN_INIT=100 run none --device cuda || fail '--device cuda without a GPU'
grep -q 'there is no cuda:0: the driver sees no GPU' "$work/log" || fail 'no GPU, and it is not said'
too_large=(--set schedule.max_steps=1 --set schedule.batch_size=16384 --set schedule.micro_batch_size=16384)
! run large --device cuda "${too_large[@]}" || fail 'a run that does not fit'
grep -q "of the GPU's memory, of which 8.0 of 8.0 GiB are free" "$work/log" || fail 'what does not fit is not said'
echo 'the driver is called as it wants to be'
