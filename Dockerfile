# syntax=docker/dockerfile:1
# xp with its CUDA kernels, and cuBLAS to run them.
#
#   docker build --tag xp .
#   docker run --rm xp run specs/quickstart.toml                       # on the CPU
#   docker run --rm --gpus all xp doctor
#   docker run --rm --gpus all -v "$PWD/specs:/xp/specs" -v xp-results:/xp/results \
#       -v xp-cache:/cache xp run specs/3cfg_3seed_gpu.toml
#
# The host needs the NVIDIA container toolkit and a driver that carries this CUDA: 580 or newer for
# 13.0; for hosts with 570, --build-arg CUDA=12.8.1. A folder of the host in place of a volume must
# be writable for the user 10001, or the container run with --user "$(id -u):$(id -g)".
ARG CUDA=13.0.1
ARG UBUNTU=24.04
ARG RUST=1.95

FROM rust:${RUST}-slim AS rust

FROM nvidia/cuda:${CUDA}-devel-ubuntu${UBUNTU} AS build
# The toolchain as it is in its own image: no installer is run here.
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:${PATH}
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# Manifest entries of benchmarks and examples are looked up even where they are not built.
COPY tests/bench ./tests/bench
COPY tests/reference/logits.rs ./tests/reference/
# The compute capabilities to compile for; fewer build faster.
ARG XP_CUDA_ARCHITECTURES=80,86,89,90,90a
ENV CUDA_HOME=/usr/local/cuda
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --features cuda --bin xp \
    && strip --strip-debug -o /usr/local/bin/xp target/release/xp && xp --version

FROM nvidia/cuda:${CUDA}-runtime-ubuntu${UBUNTU}
COPY --from=build /usr/local/bin/xp /usr/local/bin/xp
COPY LICENSE-APACHE LICENSE-MIT /usr/local/share/doc/xp/
WORKDIR /xp
COPY schema ./schema
COPY specs ./specs
# Volumes take their owner from the folders of the image. Under --user nobody owns a home.
RUN useradd --uid 10001 --no-create-home --home-dir /cache xp \
    && mkdir -p results /cache && chown xp: results /cache && chmod 1777 results /cache
ENV HOME=/cache XP_CACHE=/cache/xp HF_HOME=/cache/huggingface
VOLUME ["/xp/results", "/cache"]
USER 10001
ENTRYPOINT ["xp"]
CMD ["--help"]
