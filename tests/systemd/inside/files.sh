step "certificate files are there, with the owner and mode of the rule"
eventually 10 test -s /run/reverie/certs/web/tls.crt
for file in tls.crt tls.key ca.crt; do [ -s /run/reverie/certs/web/$file ]; done
[ "$(stat -L -c '%U:%G %a' /run/reverie/certs/web/tls.key)" = "root:www-data 440" ]
as www-data test -r /run/reverie/certs/web/tls.key
refused as nobody cat /run/reverie/certs/web/tls.key
refused as reverie-prober cat /run/reverie/certs/web/tls.key
openssl verify -CAfile /run/reverie/certs/web/ca.crt -untrusted /run/reverie/certs/web/tls.crt /run/reverie/certs/web/tls.crt >/dev/null

step "nginx serves them, and a client that trusts ca.crt accepts it"
rm -f /etc/nginx/sites-enabled/*
cat > /etc/nginx/conf.d/web.conf <<'NGINX'
server {
    listen 127.0.0.1:443 ssl;
    server_name web.example.org;
    ssl_certificate /run/reverie/certs/web/tls.crt;
    ssl_certificate_key /run/reverie/certs/web/tls.key;
    location / { return 200 "served\n"; }
}
NGINX
systemctl start nginx.service
[ "$(serial_served)" = "$(serial_of_file web)" ]
answer=$(curl --silent --show-error --max-time 10 --cacert /run/reverie/certs/web/ca.crt \
    --resolve web.example.org:443:127.0.0.1 https://web.example.org/)
[ "$answer" = served ]
