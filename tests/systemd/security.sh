#!/bin/bash
# Every shipped service scores at most 1.4 in `systemd-analyze security`, and every hardening line says why it is there.
#   tests/systemd/security.sh       no root, no running systemd needed
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../../units"
limit=14 # tenths
failed=0

for unit in reverie-agent.service reverie-agent-warden@.service reverie-agent-prober@.service reverie-agent-gss@.service reverie-agent-net@.service reverie-agent-view@.service reverie-agent-tunnel@.service \
    reverie-agent-seal.service; do
    verdict=passed
    report=$(systemd-analyze security --offline=true --no-pager --threshold=$limit "$unit" 2>&1) || { verdict=FAILED; failed=1; }
    score=$(sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p' <<<"$report")
    printf '%-32s %4s  at most %s.%s  %s\n' "$unit" "${score:-?}" $((limit / 10)) $((limit % 10)) $verdict
    [ -n "$score" ] || { echo "$report" >&2; failed=1; }
done

# A service added without being scored above.
for unit in *.service; do
    grep -q "$unit" ../tests/systemd/security.sh || { echo "$unit is shipped and not scored here"; failed=1; }
done

# In a user namespace every caller would be uid 65534, unknown.
if grep -n '^PrivateUsers=' -- *.service user/*.service; then echo "PrivateUsers= must stay off"; failed=1; fi

# A paragraph of settings begins under a comment: unexplained ones are found by the blank line before them.
for unit in *.service user/*.service; do
    awk -v unit="$unit" '
        /^\[/ { bare = 0; section = $0; next }
        /^$/ { bare = 1; next }
        /^#/ { bare = 0; next }
        bare && section == "[Service]" && !/^(Type|ExecStart)=/ { print unit ":" NR ": no word on why: " $0; wrong = 1 }
        { bare = 0 }
        END { exit wrong }' "$unit" || failed=1
done
exit $failed
