#!/bin/bash
# Every figure of docs/performance.md, against an agent of its own in a scratch directory.
#
#   tests/bench/run.sh [BINDIR] [SECONDS]      default: target/dist, 10 s for each measurement
# What `make bench` builds for it lies beside BINDIR.
#
# Rates are compared with something bare in the same run; times and memory are of this machine.
set -euo pipefail

build=$(readlink -f "${1:-${CARGO_TARGET_DIR:-target}/dist}")
seconds=${2:-10}
# Not on a tmpfs: what is durable is to cost what it costs.
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/reverie-bench.XXXXXX")
agent=
trap 'stop; rm -rf "$scratch"' EXIT

stop() { [ -z "$agent" ] || { kill "$agent" 2>/dev/null || true; wait "$agent" 2>/dev/null || true; agent=; }; }
section() { printf '\n== %s\n' "$*"; }

# declare IDENTITIES: a fresh place whose last identity is the caller's.
declare_identities() {
    rm -rf "$scratch/state" "$scratch/run"
    {
        printf 'trust_domain = "bench.example"\nnode_id = "bench.example"\n[paths]\nrun = "%s"\nstate = "%s"\n' "$scratch/run" "$scratch/state"
        printf '[seal]\nmode = "file"\n[limits]\nrequests_per_second = 0\n'
        [ "$1" -lt 2 ] || seq 2 "$1" | awk '{ printf "[[identity]]\nname = \"s%d\"\nmatch = { uid = %d }\n", $1, 100000 + $1 }'
        printf '[[identity]]\nname = "web"\ndns = ["localhost"]\nmatch = { uid = %d }\nfiles = { mode = "0400" }\n' "$(id -u)"
    } >"$scratch/agent.toml"
}

start() {
    "$build/reverie-agent" --config "$scratch/agent.toml" 2>"$scratch/log" &
    agent=$!
    for _ in $(seq 600); do "$build/agentctl" whoami >/dev/null 2>&1 && return; sleep 0.1; done
    cat "$scratch/log" >&2
    return 1
}
export REVERIE_RUN=$scratch/run

section "start to READY, key file, one identity (ms)"
declare_identities 1
python3 - "$build/reverie-agent" "$scratch" <<'PY'
import os, signal, socket, statistics, subprocess, sys, time
agent, scratch = sys.argv[1:]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(scratch + "/notify")
notify.settimeout(30)
times = []
for _ in range(21):
    begun = time.monotonic()
    child = subprocess.Popen([agent, "--config", scratch + "/agent.toml"], stderr=subprocess.DEVNULL,
                             env={**os.environ, "NOTIFY_SOCKET": scratch + "/notify"})
    while b"READY=1" not in notify.recv(4096):
        pass
    times.append((time.monotonic() - begun) * 1000)
    child.send_signal(signal.SIGTERM)
    while b"STOPPING=1" not in notify.recv(4096):
        pass
    child.wait()
first, rest = times[0], sorted(times[1:])
print(f"first start {first:.0f}; then median {statistics.median(rest):.0f}, from {rest[0]:.0f} to {rest[-1]:.0f}, 20 starts")
PY

section "memory of keeper and warden, idle for 3 s after the first certificate (KiB)"
declare_identities 1
start
sleep 3
for pid in $agent $(pgrep --parent "$agent"); do
    awk -v role="$(tr '\0' ' ' <"/proc/$pid/cmdline" | grep -o 'role [a-z]*' || echo 'role keeper')" \
        '/^Rss/ { rss = $2 } /^Pss:/ { pss = $2 } END { printf "%-14s resident %6d, shared pages counted once %6d\n", role, rss, pss }' \
        "/proc/$pid/smaps_rollup"
done

section "sealing and opening a message of the mesh"
"$build/agentctl" bench envelope --seconds "$((3 * seconds))" 2>/dev/null
echo "What asking the keeper adds:"
"$build/examples/keeper_round_trip" 2>&1

section "attested whoami"
"$build/agentctl" bench whoami --seconds "$seconds" 2>/dev/null
"$build/agentctl" bench whoami --seconds "$seconds" --new-connections 2>/dev/null

section "issue, one caller"
"$build/agentctl" bench issue --seconds "$seconds" --callers 1 --commit-dir "$scratch" 2>/dev/null
stop

for identities in 10 1000 100000; do
    section "issue, 64 callers, $identities identities declared"
    declare_identities $identities
    start
    "$build/agentctl" bench issue --seconds "$seconds" 2>/dev/null
    stop
done

section "open, read, close: the file view, a tmpfs, and a passthrough of libfuse (bindfs), in turn"
if [ "$(id -u)" = 0 ] && [ -e /dev/fuse ] && command -v bindfs >/dev/null; then
    declare_identities 1
    printf '[view]\nenabled = true\n' >>"$scratch/agent.toml"
    start
    view=$scratch/run/view/certs/web
    for _ in $(seq 100); do [ -s "$view/tls.crt" ] && break; sleep 0.1; done
    beside=$(mktemp -d /dev/shm/reverie-bench.XXXXXX)
    mkdir "$beside/files" "$beside/passed"
    cp "$view"/{bundle.pem,tls.crt,tls.key} "$beside/files"
    bindfs "$beside/files" "$beside/passed"
    python3 "$(dirname "$0")/view.py" "$seconds" "$view" "$beside/files" "$beside/passed"
    umount "$beside/passed"
    rm -r "$beside"
    stop
    # It is detached by another process.
    for _ in $(seq 100); do mountpoint --quiet "$scratch/run/view" || break; sleep 0.1; done
else
    echo "LEFT OUT: it wants root, /dev/fuse and bindfs (tests/install.sh test)"
fi

section "tunnels beside stunnel, haproxy and nginx"
if command -v stunnel4 >/dev/null && command -v iperf3 >/dev/null && PATH=$PATH:/usr/sbin command -v haproxy >/dev/null; then
    PATH=$PATH:/usr/sbin python3 "$(dirname "$0")/tunnel.py" "$build" "$(((seconds + 2) / 3))"
else
    echo "LEFT OUT: it wants stunnel4, haproxy, nginx with its module stream, and iperf3 (tests/install.sh bench)"
fi

section "a write on one host until ten have it: real agents, and chitchat beside (a round each second, as ours)"
"$build/agentctl" bench converge --local 10 2>/dev/null
"$build/../chitchat/release/chitchat-beside" 10 100 1000

section "the mesh, simulated"
for hosts in 10 100; do "$build/../release/examples/sim" --figures --hosts "$hosts"; done
"$build/../release/examples/sim" --figures --hosts 1000 --writes 8

section "100,000 records into a set"
"$build/agentctl" bench merge 2>/dev/null

section "the same rows into SQLite by upsert: one transaction, in memory, by Python's module (rows made beforehand)"
python3 - <<'PY'
import os, sqlite3, time
# As bench merge has them: 16 hosts, each its own keys, about 300 bytes each.
rows = [(21, f"user{i // 16}/h{i % 16}.bench.example", f"h{i % 16}.bench.example", 1, i // 16 + 1, os.urandom(300)) for i in range(100000)]
times = []
for _ in range(5):
    db = sqlite3.connect(":memory:")
    db.execute("create table r (collection int, key text, author text, epoch int, seq int, record blob,"
               " primary key (collection, key, author)) without rowid")
    begun = time.monotonic()
    with db:
        db.executemany("insert into r values (?, ?, ?, ?, ?, ?) on conflict do update set epoch = excluded.epoch, seq = excluded.seq,"
                       " record = excluded.record where (excluded.epoch, excluded.seq) > (epoch, seq)", rows)
    times.append((time.monotonic() - begun) * 1000)
print(f"best of 5: {min(times):.0f} ms, {min(times) * 10:.0f} ns each; SQLite {sqlite3.sqlite_version}")
PY
