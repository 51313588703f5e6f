#!/bin/bash
# The main job, for real, in a scratch directory: a service gets its identity, keeps it fresh, and nobody else can.
# Every line printed with a tick was checked; the first thing that does not hold ends the demo with its log.
set -euo pipefail

build=$(readlink -f "${1:-${CARGO_TARGET_DIR:-target}/release}")
agentctl=$build/agentctl
fixture=$build/examples/swtpm_front
scratch=$(mktemp -d "${TMPDIR:-/tmp}/reverie-demo.XXXXXX")
chmod 755 "$scratch"
begun=$(date +%s%N)
pids=()

finish() {
    local status=$?
    [ $status = 0 ] || { echo "✗ that did not hold; the agent's log:" >&2; tail -n 15 "$scratch/agent.log" >&2 || true; }
    # The newest first: nginx before the agent, the agent before its TPM.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null || true; wait "${pids[i]}" 2>/dev/null || true; done
    rm -rf "$scratch"
    exit $status
}
trap finish EXIT

say() { printf '\033[32m✓\033[0m %s\n' "$*"; }
wait_for() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "✗ waited 10 s for: $*" >&2; return 1; }
free_port() { for port in $(shuf -n 50 -i 20000-39999); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }; done; }
serial_of() { openssl x509 -noout -serial "$@" | sed 's/serial=//' | tr A-F a-f; }

# A TPM, if one can be had.
if [ -x "$fixture" ] && command -v swtpm tpm2_pcrextend systemd-creds >/dev/null; then
    # The fixture ends when its standard input does, and that when this script does.
    "$fixture" "$scratch/tpm" >"$scratch/tcti" 2>"$scratch/tpm.log" < <(exec tail --pid=$$ -f /dev/null) &
    pids+=($!)
    wait_for test -s "$scratch/tcti"
    seal="mode = \"tpm2\"
tpm2_device = \"$(head -n 1 "$scratch/tcti")\""
    sealed_by="a software TPM, through systemd-creds"
else
    seal='mode = "file"'
    sealed_by="a key file (no swtpm here)"
fi

port=$(free_port)
cat >"$scratch/agent.toml" <<EOF
trust_domain = "demo.example"
node_id = "demo.example"
[paths]
run = "$scratch/run"
state = "$scratch/state"
[seal]
$seal
[[identity]]
name = "web"
dns = ["localhost"]
match = { uid = $(id -u) }
files = { mode = "0400" }
reload = { signal = "HUP", pidfile = "$scratch/nginx.pid" }
verify = "127.0.0.1:$port"
[[identity]]
name = "payroll"
match = { uid = $(id -u), unit = "payroll.service" }
[[secret]]
name = "greeting"
allow = ["web"]
EOF
"$agentctl" --config "$scratch/agent.toml" config check >/dev/null
"$build/reverie-agent" --config "$scratch/agent.toml" 2>"$scratch/agent.log" &
pids+=($!)
export REVERIE_RUN=$scratch/run
wait_for "$agentctl" whoami
say "reverie-agent runs as $(id -un), its keys sealed by $sealed_by"

api() { curl --silent --show-error --unix-socket "$scratch/run/agent.sock" "http://localhost$1" "${@:2}"; }
api /v1/whoami | jq --exit-status --raw-output '"✓ the kernel says: pid \(.caller.pid), uid \(.caller.uid), \(.caller.exe.shown_path), pinned by \(.caller.pinning); identities: \(.identities | join(", "))"' ||
    { echo "✗ whoami"; exit 1; }
api /v1/identities/web/certificates --data '{}' >"$scratch/own.json"
jq --exit-status --raw-output .certificate "$scratch/own.json" >"$scratch/own.crt"
(umask 077; jq --exit-status --raw-output .private_key "$scratch/own.json" >"$scratch/own.key")
certs=$scratch/run/certs/web
wait_for test -e "$certs/tls.key"
openssl verify -crl_check_all -CRLfile "$certs/crl.pem" -CAfile "$certs/ca.crt" -untrusted "$scratch/own.crt" "$scratch/own.crt" >/dev/null
say "fetched a certificate over the unix socket: $(openssl x509 -in "$scratch/own.crt" -noout -ext subjectAltName | tail -n 1 | xargs)"
(cd "$certs" && stat --format '    %A %U %6s  %n' tls.crt tls.key ca.crt crl.pem)
[ "$(stat --format %a "$certs/tls.key")" = 400 ] || { echo "✗ the key's mode"; exit 1; }

mkdir "$scratch/nginx"
cat >"$scratch/nginx.conf" <<EOF
pid $scratch/nginx.pid; error_log $scratch/nginx/error.log; worker_processes 1;
events {}
http {
    access_log off; client_body_temp_path $scratch/nginx/1; proxy_temp_path $scratch/nginx/2;
    fastcgi_temp_path $scratch/nginx/3; uwsgi_temp_path $scratch/nginx/4; scgi_temp_path $scratch/nginx/5;
    server {
        listen 127.0.0.1:$port ssl;
        ssl_certificate $certs/tls.crt; ssl_certificate_key $certs/tls.key;
        ssl_client_certificate $certs/ca.crt; ssl_crl $certs/crl.pem; ssl_verify_client on; ssl_verify_depth 2;
        location / { return 200 "hello \$ssl_client_s_dn"; }
    }
}
EOF
"$(command -v nginx || echo /usr/sbin/nginx)" -c "$scratch/nginx.conf" -g 'daemon off;' 2>>"$scratch/nginx/error.log" &
pids+=($!)
mutual() { curl --silent --show-error --fail --cacert "$certs/ca.crt" --cert "$scratch/own.crt" --key "$scratch/own.key" "https://localhost:$port/"; }
wait_for mutual
[ "$(mutual)" = "hello CN=web" ]
[ "$(curl --silent --output /dev/null --write-out '%{http_code}' --cacert "$certs/ca.crt" "https://localhost:$port/")" = 400 ]
say "nginx serves it; curl connects by mutual TLS, and is refused without a certificate"

served() { openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | serial_of; }
before=$(served)
"$agentctl" cert rotate web >/dev/null
after=$(served)
# One check a line: `set -e` overlooks what fails before the last `&&`, and whatever stands after `!`.
[ "$before" != "$after" ]
[ "$after" = "$(serial_of -in "$certs/tls.crt")" ]
mutual >/dev/null
say "rotated: nginx was reloaded and now serves ${after:0:12}…, not ${before:0:12}… any more"

printf 'the owl flies at midnight' | "$agentctl" secret seal greeting >/dev/null
[ "$(api '/v1/secrets/greeting?format=raw')" = "the owl flies at midnight" ]
if grep --quiet --recursive "the owl flies" "$scratch/state"; then echo "✗ the secret lies on the disk in the clear"; exit 1; fi
say "sealed a secret and read it back as identity web; it is nowhere on the disk in the clear"

[ "$(api /v1/identities/payroll/certificates --data '{}' --output "$scratch/refusal" --write-out '%{http_code}')" = 403 ]
say "refused: $(jq --raw-output .detail "$scratch/refusal")"
"$agentctl" --json explain --pid $$ >"$scratch/why.json"
jq --exit-status --raw-output '.nearest[] | select(.identity == "payroll") | .selectors[] | "    \(if .holds then "holds" else "fails" end): wants \(.wanted), found \(.found)"' "$scratch/why.json"
jq --exit-status '.nearest[] | select(.identity == "payroll") | .selectors | any(.holds == false)' "$scratch/why.json" >/dev/null

"$agentctl" audit verify >/dev/null
"$agentctl" audit export | grep --quiet request-denied
say "the audit chain verifies: $("$agentctl" --json audit verify | jq --exit-status .report.events) events, the refusal among them"
printf '  %s\n' "all of it held, in $((($(date +%s%N) - begun) / 1000000)) ms"
