step "each process sees its own in the file view, whatever else its user runs sees nothing"
viewer() { systemd-run --quiet --wait --pipe --collect --unit viewer --uid www-data "$@"; }
sees_its_own() { [ "$(viewer ls /run/reverie/view/certs | xargs)" = "self viewer" ]; }
eventually 20 sees_its_own
viewer cat /run/reverie/view/certs/self/tls.key | grep --quiet "PRIVATE KEY"
refused as www-data cat /run/reverie/view/certs/viewer/tls.key
[ -z "$(ls -A /run/reverie/view/certs)" ]
agentctl audit tail --lines 5 | grep certificate-read | grep --quiet viewer

step "nginx serves from the view, and the next certificate after a reload"
cat > /etc/nginx/conf.d/front.conf <<'NGINX'
server {
    listen 127.0.0.1:444 ssl;
    ssl_certificate /run/reverie/view/certs/front/tls.crt;
    ssl_certificate_key /run/reverie/view/certs/front/tls.key;
    location / { return 200 "from the view\n"; }
}
NGINX
front_serves() { openssl s_client -connect 127.0.0.1:444 </dev/null 2>/dev/null | openssl x509 -noout -serial; }
systemctl restart nginx.service
first=$(front_serves)
[ -n "$first" ]
agentctl cert rotate front >/dev/null
systemctl reload nginx.service
serves_another() { [ -n "$(front_serves)" ] && [ "$(front_serves)" != "$first" ]; }
eventually 10 serves_another

step "a view that is killed is there again, and there is one mount"
systemctl kill --signal=KILL 'reverie-agent-view@*'
eventually 20 sees_its_own
[ "$(findmnt --noheadings --list --output FSTYPE --mountpoint /run/reverie/view)" = fuse.reverie ]

step "a view that hangs is killed by its watchdog, and the next one answers"
systemctl kill --signal=STOP 'reverie-agent-view@*'
refused timeout 2 ls /run/reverie/view/certs
# It fails, since it finds that.
{ agentctl doctor 2>&1 || true; } | grep "file view" | grep --quiet "does not answer"
eventually 30 sees_its_own
journalctl --no-pager -u 'reverie-agent-view@*' | grep --quiet -i watchdog
rm /etc/nginx/conf.d/front.conf
systemctl reload nginx.service
