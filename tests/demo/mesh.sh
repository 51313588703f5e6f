#!/bin/bash
# The second act: three agents on one machine become a mesh. Needs no root: each listens on a loopback address of its own, and to
# cut one off, the process that holds its network is stopped.
set -euo pipefail

build=$(readlink -f "${1:-${CARGO_TARGET_DIR:-target}/release}")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/reverie-mesh.XXXXXX")
chmod 755 "$scratch"
begun=$(date +%s%N)
pids=() network=

finish() {
    local status=$?
    [ $status = 0 ] || { echo "✗ that did not hold; the agents' logs:" >&2; tail -n 8 "$scratch"/*/log >&2 || true; }
    [ -z "$network" ] || kill -CONT "$network" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
    exit $status
}
trap finish EXIT

say() { printf '\033[32m✓\033[0m %s\n' "$*"; }
wait_for() { for _ in $(seq 400); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "✗ waited 20 s for: $*" >&2; return 1; }
free_port() { for port in $(shuf -n 50 -i 20000-39999); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }; done; }
on() { local host=$1; shift; REVERIE_RUN=$scratch/$host/run "$build/agentctl" "$@"; }
mesh() { on "$1" --json mesh status | jq --raw-output "$2"; }
sees() { [ "$(mesh "$1" ".hosts[] | select(.node_id == \"host$2.demo.example\") | .state")" = "$3" ]; }
port=$(free_port)

for host in 1 2 3; do
    mkdir "$scratch/$host"
    cat >"$scratch/$host/agent.toml" <<CONFIG
trust_domain = "demo.example"
node_id = "host$host.demo.example"
[paths]
run = "$scratch/$host/run"
state = "$scratch/$host/state"
[seal]
mode = "file"
[gossip]
listen = ["127.0.0.$host:$port"]
advertise = ["127.0.0.$host:$port"]
back_off_max_ms = 1000
[[identity]]
name = "web"
dns = ["web.host$host.demo.example"]
match = { uid = $(id -u) }
files = { mode = "0400" }
CONFIG
    "$build/reverie-agent" --config "$scratch/$host/agent.toml" 2>"$scratch/$host/log" &
    pids+=($!)
done
for host in 1 2 3; do wait_for on $host whoami; done

on 1 mesh init >/dev/null 2>&1
for host in 2 3; do on 1 mesh invite "host$host.demo.example" 2>/dev/null | on $host mesh join "127.0.0.1:$port" >/dev/null; done
agree() { [ "$(for host in "$@"; do mesh "$host" .digest; done | sort --unique | wc --lines)" = 1 ]; }
wait_for agree 1 2 3
say "three agents, one mesh: $(mesh 3 '"\(.hosts | length) hosts, \(.records) records, digest \(.digest[:16])…"') on each"

wait_for test -e "$scratch/3/run/certs/web/tls.crt"
verify() { openssl verify -CAfile "$scratch/$2/run/certs/web/ca.crt" -untrusted "$scratch/$1/run/certs/web/tls.crt" "$scratch/$1/run/certs/web/tls.crt"; }
wait_for verify 3 2
say "what host 3 issues verifies with what host 2 trusts; neither holds the root's key"

serial=$(openssl x509 -in "$scratch/2/run/certs/web/tls.crt" -noout -serial | sed 's/serial=//')
listed() { openssl crl -in <(cat "$scratch/$1/run/certs/web/crl.pem") -noout -text >/dev/null && awk -v RS='-----END X509 CRL-----' '/BEGIN/ { print $0 RS | "openssl crl -noout -text"; close("openssl crl -noout -text") }' "$scratch/$1/run/certs/web/crl.pem" | grep --quiet --ignore-case "$serial"; }
from=$(date +%s%N)
on 2 cert revoke --serial "$serial" >/dev/null
wait_for listed 3
say "revoked on host 2; in the list of host 3 after $((($(date +%s%N) - from) / 1000000)) ms"

network=$(pgrep --parent "${pids[2]}" --full 'role net')
kill -STOP "$network"
on 1 client put while-three-was-away >/dev/null
wait_for sees 1 3 down
REVERIE_RUN=$scratch/3/run "$build/agentctl" cert rotate web >/dev/null
say "host 3 is cut off: host 1 sees it down, and it goes on issuing"

kill -CONT "$network"
wait_for sees 1 3 alive
wait_for agree 1 2 3
say "healed: host 3 is alive and has what was written meanwhile"

on 1 mesh evict host3.demo.example --reason demo >/dev/null
wait_for sees 2 3 evicted
say "host 3 was put out; host 2 refuses it:"
on 2 mesh peers
printf '  %s\n' "all of it held, in $((($(date +%s%N) - begun) / 1000000)) ms"
