step "the root secret is sealed by $sealed_by, to its name, and the store holds no key in the clear"
sealed=/etc/credstore.encrypted/reverie/root.cred
[ "$(stat -c '%U %a' $sealed)" = "root 600" ]
jq --exit-status --arg mode "$sealed_by" '.mode == $mode' $sealed.json >/dev/null
agentctl status --json | jq --exit-status --arg mode "$sealed_by" '.seal.mode == $mode' >/dev/null
[ "$(systemd-creds decrypt --name=reverie-root $sealed - | wc -c)" = 32 ]
refused systemd-creds decrypt --name=another $sealed -
[ "$(stat -c '%U %a' /var/lib/reverie)" = "reverie 700" ]
refused grep -rqs 'PRIVATE KEY' /var/lib/reverie

step "a root secret sealed by something else than configured is refused"
cp /etc/reverie/agent.toml /etc/reverie/agent.toml.kept
sed -i '/^\[seal\]/,$d' /etc/reverie/agent.toml
printf '\n[seal]\nmode = "file"\n' >> /etc/reverie/agent.toml
refused systemctl restart reverie-agent.service
[ "$(property reverie-agent.service ExecMainStatus)" = 77 ]
journalctl --no-pager -u reverie-agent.service | grep -q "sealed with ${sealed_by}, but file is configured"
mv /etc/reverie/agent.toml.kept /etc/reverie/agent.toml
systemctl reset-failed reverie-agent.service
systemctl start reverie-agent.service
