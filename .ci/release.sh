#!/usr/bin/env bash
# Makes the archive of a release for this machine's architecture, and SHA256SUMS beside it:
#   target/release-archives/xp-VERSION-TARGET[-cuda].tar.gz
# with the binary, completions of five shells, the schema, the specs that need no other files, the
# table of published results and the licences. The same binary gives the same bytes.
#
# usage: .ci/release.sh [VERSION] [--features cuda] [--glibc 2.17] [--binary FILE] [--out FOLDER]
#   VERSION     fails if the binary is of another version (a tag: v0.1.0 is 0.1.0)
#   --glibc     links against this older glibc, for old clusters: by zig, of Python wheels (90 MB)
#   --binary    packs this binary instead of building one
set -euo pipefail

wanted='' features='' glibc='' binary='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        --features) features=$2; shift 2 ;;
        --glibc) glibc=$2; shift 2 ;;
        --binary) binary=$(realpath "$2"); shift 2 ;;
        --out) out=$(realpath -m "$2"); shift 2 ;;
        -*) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
        *) wanted=${1#v}; shift ;;
    esac
done
cd "$(dirname "$0")/.."

target=$(rustc --version --verbose | sed -n 's/^host: //p')
if [ -z "$binary" ]; then
    options=(--release --locked --bin xp ${features:+--features "$features"})
    folder=${CARGO_TARGET_DIR:-target}
    if [ -n "$glibc" ]; then
        zig=${XDG_CACHE_HOME:-$HOME/.cache}/xp/zig
        [ -x "$zig/bin/cargo-zigbuild" ] ||
            python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
                --upgrade --target "$zig" cargo-zigbuild==0.24.0 ziglang==0.15.2
        PATH=$zig/bin:$PATH PYTHONPATH=$zig cargo zigbuild "${options[@]}" --target "$target.$glibc"
        binary=$folder/$target/release/xp
    else
        cargo build "${options[@]}"
        binary=$folder/release/xp
    fi
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$("$binary" --version | awk 'NR == 1 { print $2 }')
if [ -n "$wanted" ] && [ "$wanted" != "$version" ]; then
    echo "$binary is version $version, not $wanted" >&2
    exit 1
fi
name=xp-$version-$target${features:+-$features}
root=$work/$name
mkdir -p "$root"/{completions,schema,results/reference}

# Without symbols it is a fifth of the size; without line tables a panic still names its place.
strip --strip-debug -o "$root/xp" "$binary"
for shell in bash:xp.bash zsh:_xp fish:xp.fish elvish:xp.elv powershell:_xp.ps1; do
    "$root/xp" completions "${shell%%:*}" > "$root/completions/${shell#*:}"
done
"$root/xp" schema > "$root/schema/experiment.schema.json"
cmp "$root/schema/experiment.schema.json" schema/experiment.schema.json
# A spec that reads text beside the repository is of no use in an archive.
git ls-files specs | while read -r spec; do
    grep -q '\.\./shared/' "$spec" || install -D -m 644 "$spec" "$root/$spec"
done
cp results/reference/{README.md,3cfg_3seed.csv} "$root/results/reference/"
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$root"
.ci/licences.py --target "$target" ${features:+--features "$features"} > "$root/LICENSES-OTHERS.txt"

# Nothing of the machine or the hour enters: names in order, no owner, one time, one mode.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
tar --create --directory "$work" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner \
    --mode='u=rwX,go=rX' --mtime="@$epoch" "$name" | gzip -9 --no-name > "$work/$name.tar.gz"

# What was packed works, away from here.
mkdir "$work/check"
tar --extract --gzip --file "$work/$name.tar.gz" --directory "$work/check"
(
    cd "$work/check/$name"
    [ "$(./xp --version | awk 'NR == 1 { print $2 }')" = "$version" ]
    for file in completions/*; do [ -s "$file" ]; done
    bash -n completions/xp.bash
    ./xp check --quiet specs/*.toml > /dev/null
    table=results/reference/3cfg_3seed.csv spec=specs/3cfg_3seed.toml
    ./xp import --quiet "$table" --spec "$spec" --results out > /dev/null
    ./xp report --quiet "$spec" --results out > table.txt
    grep -q INCONCLUSIVE table.txt
)

out=${out:-target/release-archives}
mkdir -p "$out"
mv "$work/$name.tar.gz" "$out"
cd "$out"
sha256sum -- xp-*.tar.gz > SHA256SUMS
sha256sum --check --quiet SHA256SUMS

# The oldest glibc that has everything the binary asks for: what a cluster must have.
floor=$(objdump -T "$root/xp" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
echo "$PWD/$name.tar.gz: $(wc -c < "$name.tar.gz") bytes"
echo "needs ${floor/_/ } or newer${features:+; $features: see README.md for driver and libraries}"
