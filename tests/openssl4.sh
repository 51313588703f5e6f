#!/bin/bash
# OpenSSL 4's command line, built from the crate openssl-src (3 minutes on two cores, once): Debian 12's 3.0 knows neither
# ML-KEM nor KEMRecipientInfo. Prints the path of the program.
#   tests/openssl4.sh DIR
set -euo pipefail
[ $# = 1 ] || { echo "usage: tests/openssl4.sh DIR" >&2; exit 64; }
dir=$(mkdir -p "$1" && readlink -f "$1")
program=$dir/build/apps/openssl

exec 9>"$dir/lock"
flock 9
if [ ! -e "$dir/complete" ]; then
    # An empty workspace of its own: the folder may lie within another.
    mkdir -p "$dir/fetch/src"
    : >"$dir/fetch/src/lib.rs"
    cat >"$dir/fetch/Cargo.toml" <<'TOML'
[package]
name = "fetch"
version = "0.0.0"
edition = "2024"
[dependencies]
openssl-src = "400"
[workspace]
TOML
    echo "openssl4: building, about three minutes" >&2
    manifest=$(cargo metadata --format-version 1 --manifest-path "$dir/fetch/Cargo.toml" |
        grep -o '"manifest_path":"[^"]*openssl-src-[^"]*"' | cut -d'"' -f4 | head -n1)
    [ -n "$manifest" ] || { echo "openssl4: cargo could not fetch the crate openssl-src 400" >&2; exit 69; }
    rm -rf "$dir/build"
    cp -r "$(dirname "$manifest")/openssl" "$dir/build"
    chmod -R u+w "$dir/build"
    cd "$dir/build"
    ./Configure no-tests no-docs no-shared no-module no-legacy no-quic >"$dir/configure.log" 2>&1 ||
        { tail "$dir/configure.log" >&2; exit 70; }
    nice make -j"$(nproc)" build_sw >"$dir/make.log" 2>&1 || { tail "$dir/make.log" >&2; exit 70; }
    touch "$dir/complete"
fi
echo "$program"
