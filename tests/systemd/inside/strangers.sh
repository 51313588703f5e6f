step "a process of nginx.service gets the identity"
# Moved into the unit's cgroup by root, as one of its workers would be.
in_nginx() { sh -c 'echo $$ > /sys/fs/cgroup/system.slice/nginx.service/cgroup.procs && exec "$@"' - "$@"; }
in_nginx setpriv --reuid www-data --regid www-data --clear-groups $ask_command/v1/identities | names_identity web

step "the same user in another unit, and another user in that unit, get nothing"
as www-data $ask_command/v1/identities > /tmp/stranger.json
lacks_identity web < /tmp/stranger.json
in_nginx setpriv --reuid nobody --regid nogroup --clear-groups $ask_command/v1/identities > /tmp/stranger.json
lacks_identity web < /tmp/stranger.json

step "a user's own unit called nginx.service gets nothing"
cat > /etc/systemd/user/nginx.service <<UNIT
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/self/cgroup > %t/cgroup; $ask_command/v1/identities > %t/answer.json'
UNIT
mkdir -p /etc/systemd/user/default.target.wants
ln -s ../nginx.service /etc/systemd/user/default.target.wants/
systemctl start "user@$(id -u www-data).service"
eventually 10 test -s "/run/user/$(id -u www-data)/answer.json"
# It did run in a unit of that name, of a user manager.
grep -q '^0::/user.slice/.*/nginx.service$' "/run/user/$(id -u www-data)/cgroup"
lacks_identity web < "/run/user/$(id -u www-data)/answer.json"
systemctl stop "user@$(id -u www-data).service"

step "an administrator is told why, for a process of another user in another unit"
systemd-run --quiet --unit=explained --uid=www-data --gid=www-data sleep 600
explained=$(property explained.service MainPID)
agentctl explain --pid "$explained" --json > /tmp/explained.json
jq --exit-status --argjson uid "$(id -u www-data)" '.caller.uid == $uid and .unit == "explained.service"' /tmp/explained.json >/dev/null
jq --exit-status '.nearest[0].identity == "web" and (.caller.exe.shown_path | endswith("/sleep"))' /tmp/explained.json >/dev/null
systemctl stop explained.service
