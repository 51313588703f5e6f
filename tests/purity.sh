#!/bin/bash
# The core decides without I/O: none of these crates may be among its dependencies, however deep.
# What std itself offers is held by agent/core/clippy.toml.
#   tests/purity.sh
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

impure='tokio.*|mio|socket2|polling|async-.*|nix|rustix|caps|hyper.*|h2|axum.*|tower.*|reqwest|ureq|rustls.*|aws-lc-.*|ring|redb|rusqlite|sled|tempfile|libsystemd|sd-notify|listenfd|notify|tracing-subscriber|reverie-sys|reverie-tpm|reverie-agent'
tree=$(cargo tree --package reverie-core --edges normal --prefix none --format '{lib}' | sort -u | tr _ -)
[ "$(wc -l <<<"$tree")" -gt 10 ] || { echo "purity: cargo tree said too little to judge by" >&2; exit 1; }
if found=$(grep -Ex "($impure)" <<<"$tree"); then
    echo "purity: reverie-core depends on what does I/O: ${found//$'\n'/, }" >&2
    echo "purity: move the code that needs it to the shell (agent/src); cargo tree -p reverie-core -i CRATE shows the way it came in" >&2
    exit 1
fi
echo "purity: reverie-core depends on nothing that does I/O"
