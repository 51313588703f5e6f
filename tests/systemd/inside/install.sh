step "dpkg installs it; users and directories exist; nothing runs yet"
DEBIAN_FRONTEND=noninteractive dpkg --install /shared/reverie.deb >/dev/null 2>&1
for user in reverie reverie-warden reverie-prober reverie-gss reverie-net reverie-view reverie-tunnel; do id "$user" >/dev/null; done
getent group reverie-admin >/dev/null
contents=$(dpkg --contents /shared/reverie.deb)
for page in man8/reverie-agent.8.gz man1/agentctl.1.gz man1/agentctl-cert.1.gz; do
    grep --quiet "usr/share/man/$page" <<<"$contents"
done
[ -s /usr/share/bash-completion/completions/agentctl ]
[ "$(stat -c '%U %a' /run/reverie)" = "root 755" ]
[ "$(stat -c '%U %a' /run/reverie/certs)" = "reverie-warden 755" ]
[ "$(stat -c '%U %a' /run/reverie/secrets)" = "reverie-warden 711" ]
[ "$(stat -c '%U:%G %a' /run/reverie-internal)" = "root:reverie 750" ]
[ "$(stat -c '%U %a' /etc/credstore.encrypted/reverie)" = "root 700" ]
refused systemctl is-active reverie-agent.service reverie-agent.socket

step "systemd finds no fault in the installed units"
verified=$(systemd-analyze verify --man=no /usr/lib/systemd/system/reverie-agent*.{service,socket} 2>&1)
verified+=$(XDG_RUNTIME_DIR=/run systemd-analyze --user verify --man=no /usr/lib/systemd/user/reverie-agent* 2>&1)
# Back-off between restarts: from systemd 254 on.
verified=$(grep -vE "Unknown key( name)? '?(RestartSteps|RestartMaxDelaySec)" <<<"$verified" || true)
[ -z "$verified" ] || { echo "$verified" >&2; false; }

cat > /etc/reverie/agent.toml <<'TOML'
trust_domain = "example.org"
node_id = "box.example.org"

[paths]
warden_socket = "/run/reverie-internal/warden.sock"
prober_socket = "/run/reverie-internal/prober.sock"

[view]
enabled = true

[[identity]]
name = "web"
spiffe_id = "spiffe://example.org/svc/web"
dns = ["web.example.org"]
ttl = "7d"
match = { user = "www-data", unit = "nginx.service" }
files = { owner = "root", group = "www-data", mode = "0440" }
reload = { unit = "nginx.service" }
verify = "127.0.0.1:443"

[[identity]]
name = "front"
match = { user = "root", unit = "nginx.service" }

[[identity]]
name = "viewer"
match = { user = "www-data", unit = "viewer.service" }
TOML
