step "the root secret is sealed by $sealed_by, to its name, and the store holds no key in the clear"
sealed=/etc/credstore.encrypted/reverie/root.cred
[ "$(stat -c '%U %a' $sealed)" = "root 600" ]
jq --exit-status --arg mode "$sealed_by" '.mode == $mode' $sealed.json >/dev/null
[ "$(systemd-creds decrypt --name=reverie-root $sealed - | wc -c)" = 32 ]
refused systemd-creds decrypt --name=another $sealed -
[ "$(stat -c '%U %a' /var/lib/reverie)" = "reverie 700" ]
refused grep -rqs 'PRIVATE KEY' /var/lib/reverie
