#!/usr/bin/env bash
# Fetches what compiling the kernels needs (nvcc 13.0 and its headers, 270 MB), and a disassembler, from
# Python wheels: no GPU, no driver, no root. Then:  export CUDA_HOME=FOLDER
# usage: tests/gpu/toolkit.sh [FOLDER]      default: ~/.cache/xp/cuda-13.0
set -euo pipefail

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/xp/cuda-13.0}
if [ -x "$folder/bin/nvcc" ] && [ -x "$folder/bin/nvdisasm" ]; then
    echo "$folder"
    exit
fi
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Compiler, its back end and its runtime headers are of one version. A driver of CUDA 13.0 or newer
# loads what they make. The disassembler has no wheel of that version; it reads older machine code.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.12 --implementation cp \
    --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --platform manylinux_2_12_x86_64 --platform manylinux2010_x86_64 \
    --dest "$work/wheels" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvdisasm==13.2.78
for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work"; done
chmod +x "$work"/nvidia/cu13/bin/* "$work"/nvidia/cu13/nvvm/bin/*
ln -s lib "$work/nvidia/cu13/lib64"
rm -rf "$folder"
mv "$work/nvidia/cu13" "$folder"
"$folder/bin/nvcc" --version >&2
echo "$folder"
