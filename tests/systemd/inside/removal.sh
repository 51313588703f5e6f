step "removal keeps the keys, purge deletes them"
systemctl start reverie-agent.service
dpkg --remove reverie >/dev/null 2>&1
refused systemctl is-active reverie-agent.service
test -s /etc/credstore.encrypted/reverie/root.cred
dpkg --purge reverie >/dev/null 2>&1
for left in /var/lib/reverie /etc/reverie /etc/credstore.encrypted/reverie /run/reverie; do refused test -e $left; done
