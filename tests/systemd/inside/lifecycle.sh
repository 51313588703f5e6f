step "reload takes a new identity in, and a wrong file leaves the old configuration in force"
keeper=$(property reverie-agent.service MainPID)
mkdir -p /etc/reverie/agent.d
cat > /etc/reverie/agent.d/mail.toml <<'TOML'
[[identity]]
name = "mail"
spiffe_id = "spiffe://example.org/svc/mail"
dns = ["mail.example.org"]
match = { user = "mail" }
files = { owner = "mail", group = "mail", mode = "0400" }
TOML
systemctl reload reverie-agent.service
eventually 10 test -s /run/reverie/certs/mail/tls.key
[ "$(stat -L -c '%U:%G %a' /run/reverie/certs/mail/tls.key)" = "mail:mail 400" ]
echo 'colour = "blue"' > /etc/reverie/agent.d/wrong.toml
systemctl reload reverie-agent.service
complained() { journalctl --no-pager -u reverie-agent.service | grep -q colour; }
eventually 10 complained
[ "$(property reverie-agent.service MainPID)" = "$keeper" ]
as mail $ask_command/v1/identities | names_identity mail
rm /etc/reverie/agent.d/wrong.toml

step "a wrong file at start is exit 78, and no restart loop"
echo 'colour = "blue"' > /etc/reverie/agent.d/wrong.toml
refused systemctl restart reverie-agent.service
[ "$(property reverie-agent.service ExecMainStatus)" = 78 ]
sleep 1
[ "$(property reverie-agent.service NRestarts)" = 0 ]
[ "$(property reverie-agent.service ActiveState)" = failed ]
rm /etc/reverie/agent.d/wrong.toml
systemctl reset-failed reverie-agent.service
systemctl start reverie-agent.service

step "a restart loses nothing and rewrites nothing"
# Inode and modification time of every file and generation.
listing() { find -L /run/reverie/certs/web /run/reverie/certs/mail -printf '%p %i %T@ %m %u %g\n' | sort; }
files=$(listing)
serial=$(serial_of_file web)
systemctl restart reverie-agent.service
ask /v1/whoami >/dev/null
[ "$(serial_of_file web)" = "$serial" ]
[ "$(listing)" = "$files" ]

step "killed keeper: started again, the waiting caller answered, nothing lost"
keeper=$(property reverie-agent.service MainPID)
kill -KILL "$keeper"
ask /v1/whoami >/dev/null
[ "$(property reverie-agent.service MainPID)" != "$keeper" ]
[ "$(listing)" = "$files" ]

step "killed warden: another takes its place, the keeper stays"
keeper=$(property reverie-agent.service MainPID)
warden_unit=$(systemctl list-units --plain --no-legend 'reverie-agent-warden@*.service' | awk '{ print $1; exit }')
systemctl kill --signal=KILL "$warden_unit"
in_nginx_again() { in_nginx setpriv --reuid www-data --regid www-data --clear-groups $ask_command/v1/identities | names_identity web; }
eventually 10 in_nginx_again
[ "$(property reverie-agent.service MainPID)" = "$keeper" ]
[ -z "$(systemctl list-units --plain --no-legend --failed 'reverie-agent*')" ]

step "a store that cannot be opened is tried again, until it can"
chown root: /var/lib/reverie/store.redb
refused systemctl restart reverie-agent.service
tried_again() { [ "$(property reverie-agent.service NRestarts)" -ge 2 ] && [ "$(property reverie-agent.service ExecMainStatus)" = 74 ]; }
eventually 20 tried_again
chown reverie: /var/lib/reverie/store.redb
eventually 20 systemctl is-active reverie-agent.service
ask /v1/whoami >/dev/null
[ "$(serial_of_file web)" = "$serial" ]

step "secrets can be opened by name and not listed"
[ "$(stat -c '%U %a' /run/reverie/secrets)" = "reverie-warden 711" ]

step "a keeper that hangs is ended by the watchdog and started again"
mkdir -p /etc/systemd/system/reverie-agent.service.d
printf '[Service]\nWatchdogSec=2\n' > /etc/systemd/system/reverie-agent.service.d/quick.conf
systemctl daemon-reload
systemctl restart reverie-agent.service
keeper=$(property reverie-agent.service MainPID)
# A sound one survives several periods.
sleep 5
[ "$(property reverie-agent.service MainPID)" = "$keeper" ]
kill -STOP "$keeper"
replaced() { [ "$(property reverie-agent.service NRestarts)" -ge 1 ] && systemctl is-active reverie-agent.service && ask /v1/whoami; }
eventually 30 replaced
[ "$(property reverie-agent.service MainPID)" != "$keeper" ]
[ "$(serial_of_file web)" = "$serial" ]

step "a lost root secret is not replaced by a new one while a store exists"
systemctl --quiet stop reverie-agent.service
mv /etc/credstore.encrypted/reverie /etc/credstore.encrypted/lost
systemd-tmpfiles --create reverie.conf
systemctl reset-failed reverie-agent.service
refused systemctl start reverie-agent.service
refused test -e /etc/credstore.encrypted/reverie/root.cred
rmdir /etc/credstore.encrypted/reverie
mv /etc/credstore.encrypted/lost /etc/credstore.encrypted/reverie
systemctl reset-failed reverie-agent.service
systemctl start reverie-agent.service
[ "$(serial_of_file web)" = "$serial" ]

step "stopped means stopped: nobody of them is left, certificates stay readable"
systemctl --quiet stop reverie-agent.socket reverie-agent-admin.socket reverie-agent-workload.socket reverie-agent-credentials.socket reverie-agent-warden.socket reverie-agent-prober.socket \
    reverie-agent-gss.socket reverie-agent-net.socket reverie-agent-view.socket reverie-agent-tunnel.socket reverie-agent.service
none_left() { [ -z "$(pgrep -u reverie,reverie-warden,reverie-prober,reverie-gss,reverie-net,reverie-view,reverie-tunnel)" ]; }
eventually 10 none_left
view_is_gone() { ! findmnt /run/reverie/view; }
eventually 10 view_is_gone
as www-data test -r /run/reverie/certs/web/tls.key
