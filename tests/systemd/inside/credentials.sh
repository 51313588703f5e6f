credential() { cat "/run/credentials/$1/$2"; }
serial_of_job() { openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null; }
fails_with_243() {
    refused systemctl start "$1"
    [ "$(property "$1" ExecMainStatus)" = 243 ] && [ "$(property "$1" Result)" = exit-code ]
}
log_has() { journalctl --no-pager --output=cat -u reverie-agent.service | grep --quiet --fixed-strings -- "$1"; }

step "the guide: a unit gets certificate, key, roots and a secret by LoadCredential="
systemctl start reverie-agent-credentials.socket
[ "$(stat -c '%U:%G %a' /run/reverie/credentials.sock)" = "root:root 600" ]
block systemd-unit 1 >/dev/null
block systemd-unit 2
eventually 10 serial_of_job
credential job.service job.ca >/tmp/job.ca
openssl s_client -connect 127.0.0.1:8443 -verify_return_error -CAfile /tmp/job.ca -verify_hostname job.example.org </dev/null >/dev/null 2>&1
[ "$(credential job.service secret.job-token)" = "the owl flies at midnight" ]
[ "$(credential job.service job.crt)" = "$(cat /run/reverie/certs/job/tls.crt)" ]
of_key=$(credential job.service job.key | openssl pkey -pubout)
[ "$of_key" = "$(openssl x509 -noout -pubkey -in /run/reverie/certs/job/tls.crt)" ]

step "asked again it is the same; after a rotation the path unit has the service started with the new one"
systemctl restart job.service
eventually 10 serial_of_job
[ "$(credential job.service job.key | openssl pkey -pubout)" = "$of_key" ]
before=$(serial_of_job)
block systemd-unit 3 >/dev/null 2>&1
rotated() { [ "$(serial_of_job)" = "$(serial_of_file job)" ] && [ "$(serial_of_job)" != "$before" ]; }
eventually 20 rotated

# unit NAME LINE...: a oneshot that says whether it started.
unit() {
    local name=$1 && shift
    { echo "[Service]"; echo "Type=oneshot"; printf '%s\n' "$@"; echo "ExecStart=/usr/bin/touch /run/started-$name"; } >"/etc/systemd/system/$name"
    systemctl daemon-reload
}
load() { echo "LoadCredential=$1:/run/reverie/credentials.sock"; }

step "what a unit may not have, and what there is not, fail it with 243 and a line that says why"
for id in job.key secret.job-token nothing.key nothing secret.nothing; do
    unit stranger.service "$(load "$id")"
    fails_with_243 stranger.service
    refused test -e /run/started-stranger.service
done
log_has 'credential "job.key" for stranger.service is refused: no rule gives stranger.service an identity job; try:'
log_has 'credential "secret.job-token" for stranger.service is refused: stranger.service may not read a secret "job-token"; try:'
log_has 'credential "nothing" for stranger.service is refused: there is no such credential'
block systemd-unit 4 | grep 'for stranger.service is refused' >/dev/null
# A rule that looks at more than the unit.
unit nginx-credentials.service "$(load web.key)"
mkdir -p /etc/systemd/system/nginx.service.d
printf '[Service]\n%s\n' "$(load web.key)" >/etc/systemd/system/nginx.service.d/credentials.conf
systemctl daemon-reload
refused systemctl restart nginx.service
log_has 'the rule of the identity web looks at more than the unit'
rm -r /etc/systemd/system/nginx.service.d
systemctl daemon-reload
systemctl reset-failed nginx.service
systemctl restart nginx.service

step "a forged name is refused: by a foreign program, and by systemd's own program in another unit's cgroup"
cat >/tmp/forge.py <<'PYTHON'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind("\0f00/unit/job.service/job.key")
s.connect("/run/reverie/credentials.sock")
s.shutdown(socket.SHUT_WR)
total = 0
while data := s.recv(65536):
    total += len(data)
    assert b"BEGIN" not in data
assert total > 1 << 20, total
PYTHON
python3 -I /tmp/forge.py
log_has 'credential "job.key" for job.service is refused: it runs'
# Even from within the unit's own cgroup: root moves itself there.
sh -c 'echo $$ > /sys/fs/cgroup/system.slice/job.service/cgroup.procs && exec python3 -I /tmp/forge.py'
refused as nobody python3 -I /tmp/forge.py
cat >/tmp/forge.c <<'C'
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
__attribute__((constructor)) static void forge(void) {
    struct sockaddr_un from = { AF_UNIX }, to = { AF_UNIX };
    static const char name[] = "f00/unit/job.service/job.key";
    static char bytes[65536];
    memcpy(from.sun_path + 1, name, sizeof name - 1);
    strcpy(to.sun_path, "/run/reverie/credentials.sock");
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(s, (void *)&from, sizeof(sa_family_t) + sizeof name) || connect(s, (void *)&to, sizeof to)) _exit(1);
    long total = 0, n;
    while ((n = read(s, bytes, sizeof bytes)) > 0) {
        total += n;
        if (memmem(bytes, n, "BEGIN", 5)) _exit(2);
    }
    _exit(total > (1 << 20) ? 0 : 3);
}
C
gcc -D_GNU_SOURCE -shared -fPIC -o /tmp/forge.so /tmp/forge.c
LD_PRELOAD=/tmp/forge.so /usr/lib/systemd/systemd --version
log_has 'credential "job.key" for job.service is refused: it says that it is of job.service, and its cgroup is that of box-command.service'
systemctl stop job.service credentials-of-job.path
