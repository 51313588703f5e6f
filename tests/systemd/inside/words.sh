# The words the chapters are written in. Sourced by run.sh under `set -Eeuo pipefail`: any command that fails, fails the run.

begun=$EPOCHREALTIME
step() { printf '%6.1f s  %s\n' "$(echo "$EPOCHREALTIME $begun" | awk '{ print $1 - $2 }')" "$1"; }

# Says where it stopped and what the units said.
diagnose() {
    echo "FAILED at ${1##*/}:$2: $(sed -n "$2s/^ *//p" "$1")" >&2
    # A failure within a pipe or function is heard of again on its way out.
    mkdir /run/diagnosed 2>/dev/null || exit 1
    systemctl --no-pager --lines=0 status 'reverie-agent*' 2>&1 | grep -E '●|×|○|Active|Status' >&2 || true
    echo "--- the journal" >&2
    journalctl --no-pager --output=short-monotonic --lines=40 -u 'reverie*' -u nginx -u polkit >&2 || true
    exit 1
}
trap 'diagnose "${BASH_SOURCE[0]}" "$LINENO"' ERR

# Passes when the command fails.
refused() { if "$@" >/dev/null 2>&1; then return 1; fi; }

# eventually SECONDS COMMAND...: passes as soon as the command does, within the time.
eventually() {
    local deadline=$((SECONDS + $1)) && shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# as USER COMMAND...: with that user's uid, gid and groups, still in this unit.
as() { local user=$1 && shift && setpriv --reuid "$user" --regid "$user" --init-groups "$@"; }

ask() { curl --silent --show-error --max-time 20 --unix-socket /run/reverie/agent.sock "http://localhost$1"; }
# The same, as a word for `as` and for other units: a program, not a function.
ask_command='curl --silent --show-error --max-time 20 --unix-socket /run/reverie/agent.sock http://localhost'

# names_identity NAME < ANSWER of /v1/identities.
names_identity() { jq --exit-status --arg name "$1" '[.identities[].name] | index($name) != null' >/dev/null; }
# The agent did answer, by a refusal or a list, and that name is not in it.
lacks_identity() { jq --exit-status --arg name "$1" 'type == "object" and ([.identities[]?.name] | index($name) == null)' >/dev/null; }

property() { systemctl show --value --property "$2" "$1"; }

serial_of_file() { openssl x509 -noout -serial -in "/run/reverie/certs/$1/tls.crt"; }
serial_served() { openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -serial; }

# block PAGE NUMBER: the commands of a guide, as they stand; each block of the page runs in a shell of its own.
block() {
    awk -v wanted="$2" '/^```sh$/ { inside = ++n == wanted; next } /^```$/ { inside = 0 } inside' "/shared/guides/$1.md" >/tmp/block.sh
    [ -s /tmp/block.sh ]
    bash -euo pipefail /tmp/block.sh
}
