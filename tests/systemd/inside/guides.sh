# The guides' commands, as they stand.
# A server that wants a certificate ends the connection after it has shown its own.
serial_at() { { openssl s_client -connect "$@" </dev/null 2>/dev/null || true; } | openssl x509 -noout -serial 2>/dev/null; }
# Served, and another than before.
serves_anew() { local now && now=$(serial_at "${@:2}") && [ -n "$now" ] && [ "$now" != "$1" ]; }
read_by() { agentctl audit tail --lines 20 --json | grep certificate-read | grep --quiet "\"$1\""; }
no_alarm_of() { refused grep --quiet "identity $1" <(agentctl status); }
mkdir -p /etc/reverie/agent.d

step "the guide of nginx: published files, then the view"
block nginx 1
block nginx 2
before=$(serial_at 127.0.0.1:8444)
[ -n "$before" ]
block nginx 3 | grep --quiet "client: NONE"
serves_anew "$before" 127.0.0.1:8444
before=$(serial_at 127.0.0.1:8444)
block nginx 4 >/dev/null
eventually 10 serves_anew "$before" 127.0.0.1:8444
[ ! -e /run/reverie/certs/site ]
read_by site
no_alarm_of site

step "the guide of redis: published files, then the view"
block redis 1
block redis 2
eventually 10 serial_at 127.0.0.1:6380
before=$(serial_at 127.0.0.1:6380)
block redis 3 >/dev/null
eventually 10 serves_anew "$before" 127.0.0.1:6380
no_alarm_of cache
before=$(serial_at 127.0.0.1:6380)
block redis 4 >/dev/null
eventually 10 serves_anew "$before" 127.0.0.1:6380
[ ! -e /run/reverie/certs/cache ]
read_by cache
no_alarm_of cache

step "the guide of PostgreSQL: published files, then the view"
block postgresql 1
block postgresql 2
eventually 10 serial_at 127.0.0.1:5432 -starttls postgres
before=$(serial_at 127.0.0.1:5432 -starttls postgres)
block postgresql 3 >/dev/null
eventually 10 serves_anew "$before" 127.0.0.1:5432 -starttls postgres
no_alarm_of db
before=$(serial_at 127.0.0.1:5432 -starttls postgres)
block postgresql 4 >/dev/null
eventually 10 serves_anew "$before" 127.0.0.1:5432 -starttls postgres
[ ! -e /run/reverie/certs/db ]
read_by db
no_alarm_of db
systemctl stop redis-server.service postgresql@15-main.service
rm /etc/reverie/agent.d/{site,cache,db}.toml /etc/nginx/conf.d/site.conf
systemctl reload nginx.service reverie-agent.service
