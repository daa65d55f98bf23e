#!/usr/bin/env bash
# Fetches what check.py asks, both in the versions that the VS Code extension "Even Better TOML" is
# made of: taplo (a Python wheel, 5 MB) and its language server (two npm packages, 35 MB unpacked;
# the wheel is built without it). The server is left out where there is no node or no npm.
# usage: tests/editor/install.sh [FOLDER]      default: ~/.cache/xp/editor; prints the folder
set -euo pipefail

taplo=0.9.3 lsp=0.8.0 core=0.2.0
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/xp/editor}/$taplo-$lsp

# Into a folder beside its place, then renamed: a download that is cut off leaves nothing half done.
fetch() {
    local part=$1 work
    shift
    [ -e "$folder/$part" ] && return
    mkdir -p "$folder"
    work=$(mktemp -d "$folder/.$part.XXXXXX")
    if "$@" "$work" >&2; then
        mv -T "$work" "$folder/$part"
    else
        rm -rf "$work"
        return 1
    fi
}
wheel() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --retries 1 --no-deps --only-binary=:all: --target "$1" "taplo==$taplo"
}
server() {
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$1" \
        "@taplo/lsp@$lsp" "@taplo/core@$core"
}

fetch cli wheel
if command -v node >/dev/null && command -v npm >/dev/null; then
    fetch server server || echo 'the language server could not be fetched' >&2
fi
echo "$folder"
