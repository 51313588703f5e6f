step "the first caller starts it, by the socket"
systemctl start reverie-agent.socket reverie-agent-admin.socket
refused systemctl is-active reverie-agent.service
[ "$(stat -c %a /run/reverie/agent.sock)" = 666 ]
[ "$(stat -c '%U:%G %a' /run/reverie/admin.sock)" = "root:reverie-admin 660" ]
ask /v1/whoami | jq --exit-status '.caller.uid == 0 and .unit == "box-command.service"' >/dev/null
[ "$(property reverie-agent.service ActiveState)" = active ]
[ "$(property reverie-agent.service NRestarts)" = 0 ]

step "it says READY: ordered after it means served"
systemctl --quiet stop reverie-agent.service
systemctl start reverie-agent.service
[ "$(property reverie-agent.service SubState)" = running ]
systemctl is-active reverie-agent.service >/dev/null

step "the Workload API is served on a socket of its own"
[ "$(stat -c %a /run/reverie/workload.sock)" = 666 ]
head -c 5 /dev/zero >/tmp/empty
curl --silent --max-time 5 --http2-prior-knowledge --unix-socket /run/reverie/workload.sock --data-binary @/tmp/empty \
    --header 'content-type: application/grpc' --header 'te: trailers' --dump-header - --output /dev/null \
    http://localhost/SpiffeWorkloadAPI/FetchX509SVID | grep --quiet 'grpc-status: 3'

step "keeper, warden and prober are three users; the keeper has no capability and only unix sockets"
keeper=$(property reverie-agent.service MainPID)
[ "$(stat -c %U "/proc/$keeper")" = reverie ]
grep -q '^CapEff:	0000000000000000$' "/proc/$keeper/status"
grep -q '^CapBnd:	0000000000000000$' "/proc/$keeper/status"
grep -q '^NoNewPrivs:	1$' "/proc/$keeper/status"
grep -q '^Seccomp:	2$' "/proc/$keeper/status"
[ "$(readlink "/proc/$keeper/ns/net")" != "$(readlink /proc/1/ns/net)" ]
[ "$(property reverie-agent.service WatchdogUSec)" = 30s ]
grep -q '^Max core file size  *0 ' "/proc/$keeper/limits"
ask /v1/whoami >/dev/null
warden_unit=$(systemctl list-units --plain --no-legend 'reverie-agent-warden@*.service' | awk '{ print $1; exit }')
warden=$(property "$warden_unit" MainPID)
[ "$(stat -c %U "/proc/$warden")" = reverie-warden ]
# CHOWN 0x1, FOWNER 0x8, KILL 0x20, SYS_PTRACE 0x80000
grep -q '^CapBnd:	0000000000080029$' "/proc/$warden/status"

step "only root and reverie-admin may open admin.sock, only the keeper the sockets within"
for user in www-data reverie-warden; do
    refused as $user curl --silent --max-time 5 --unix-socket /run/reverie/admin.sock http://localhost/health
    refused as $user socat -u OPEN:/dev/null UNIX-CONNECT:/run/reverie-internal/warden.sock,type=5
done
refused as reverie-prober socat -u OPEN:/dev/null UNIX-CONNECT:/run/reverie-internal/warden.sock,type=5
