#!/usr/bin/env bash
# Builds what a machine with a GPU needs and puts it into one folder: xp, the tests of the CUDA
# backend, the benchmark, the experiment, the scripts. Copy the folder there, then: FOLDER/run.sh, and
# FOLDER/experiment.sh
# usage: tests/gpu/pack.sh [FOLDER]      default: target/gpu
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-target/gpu}
CUDA_HOME=${CUDA_HOME:-$(tests/gpu/toolkit.sh)}
export CUDA_HOME
mkdir -p "$folder"

# The path of the binary NAME that cargo builds.
built() {
    local name=$1
    shift
    cargo "$@" --locked --features cuda --message-format json-render-diagnostics |
        grep "\"name\":\"$name\"" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}
pack() { strip -o "$folder/$2" "$1"; }
pack "$(built xp build --release --bin xp)" xp
pack "$(built cuda test --release --no-run --test cuda)" cuda-tests
pack "$(built step bench --no-run --bench step)" step
pack "$(built inputs build --release --example inputs)" inputs
cp tests/gpu/{run,experiment,cuda-libraries}.sh tests/gpu/mini.toml tests/bench/vs_torch/*.py "$folder"
mkdir -p "$folder/specs/protocols"
cp specs/3cfg_3seed{,_gpu}.toml "$folder/specs"
cp specs/protocols/tinystories_50m.toml "$folder/specs/protocols"
# The runs that the repository has, for experiment.sh with KNOWN=1.
rm -rf "$folder/results"
if [ -d results/3cfg_3seed_gpu ]; then mkdir -p "$folder/results" && cp -r results/3cfg_3seed_gpu "$folder/results"; fi
tokenizer=../shared/data/gpt-neox-20b/tokenizer.json
if [ -f "$tokenizer" ]; then cp "$tokenizer" "$folder"; else echo "experiment.sh needs $tokenizer, which is not here"; fi
du -sh "$folder"
