step "one person's agent, by the user manager's socket: own identity, own files, no root"
useradd --create-home --shell /bin/bash alice
alice=$(id -u alice)
as alice mkdir -p /home/alice/.config/reverie /home/alice/.config/systemd/user/sockets.target.wants
as alice tee /home/alice/.config/reverie/agent.toml >/dev/null <<TOML
trust_domain = "alice.example"
node_id = "box.example.org"

[[identity]]
name = "me"
match = { uid = $alice }
files = { mode = "0400" }
TOML
for socket in reverie-agent.socket reverie-agent-admin.socket reverie-agent-workload.socket; do
    as alice ln -s "/usr/lib/systemd/user/$socket" /home/alice/.config/systemd/user/sockets.target.wants/
done
systemctl start "user@$alice.service"
person() { as alice env HOME=/home/alice XDG_RUNTIME_DIR="/run/user/$alice" "$@"; }
ask_person="curl --silent --show-error --max-time 20 --unix-socket /run/user/$alice/reverie/agent.sock http://localhost"
refused person systemctl --user is-active reverie-agent.service
person $ask_person/v1/identities | names_identity me
person systemctl --user is-active reverie-agent.service >/dev/null
[ "$(stat -c %a "/run/user/$alice/reverie/workload.sock")" = 600 ]
eventually 10 test -s "/run/user/$alice/reverie/certs/me/tls.key"
[ "$(stat -L -c '%U %a' "/run/user/$alice/reverie/certs/me/tls.key")" = "alice 400" ]

step "it restarts with the same certificate, and is closed to others"
serial=$(openssl x509 -noout -serial -in "/run/user/$alice/reverie/certs/me/tls.crt")
person systemctl --user restart reverie-agent.service
person $ask_person/v1/identities | names_identity me
[ "$(openssl x509 -noout -serial -in "/run/user/$alice/reverie/certs/me/tls.crt")" = "$serial" ]
refused as www-data $ask_person/v1/whoami
refused as www-data ls "/run/user/$alice/reverie"
systemctl stop "user@$alice.service"
