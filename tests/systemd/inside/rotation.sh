step "a rotation reloads nginx, by polkit, and the new serial is served"
before=$(serial_of_file web)
nginx=$(property nginx.service MainPID)
agentctl cert rotate web >/dev/null
after=$(serial_of_file web)
[ "$before" != "$after" ]
new_serial_is_served() { [ "$(serial_served)" = "$after" ]; }
eventually 10 new_serial_is_served
[ "$(property nginx.service MainPID)" = "$nginx" ]

step "the warden's user may reload, and nothing else; others may not even that"
as reverie-warden systemctl --no-ask-password reload nginx.service
for verb in restart stop start reload-or-restart try-restart kill; do
    refused as reverie-warden systemctl --no-ask-password $verb nginx.service
done
refused as reverie-warden systemctl --no-ask-password daemon-reload
refused as reverie-warden systemd-run --no-ask-password true
for user in www-data reverie reverie-prober; do refused as $user systemctl --no-ask-password reload nginx.service; done
[ "$(property nginx.service MainPID)" = "$nginx" ]
