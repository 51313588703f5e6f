step "it opens again and again"
serial=$(serial_of_file web)
for _ in 1 2 3 4 5; do systemctl restart reverie-agent.service; done
ask /v1/whoami >/dev/null
[ "$(serial_of_file web)" = "$serial" ]

step "another TPM does not open it; the right one does, and all is as before"
systemctl --quiet stop reverie-agent.service swtpm-front.service
start_tpm /var/tmp/tpm-b
refused systemctl start reverie-agent.service
systemctl --quiet stop reverie-agent.service swtpm-front.service
start_tpm /var/tmp/tpm-a
systemctl reset-failed reverie-agent.service
systemctl start reverie-agent.service
ask /v1/whoami >/dev/null
[ "$(serial_of_file web)" = "$serial" ]
