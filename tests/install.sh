#!/bin/bash
# Installs what the demo or the tests need from Debian's packages, and starts nothing.
#
#   tests/install.sh [demo|test|bench]      default: test, which includes what demo needs; bench includes both
#
# Says what is missing and installs only that: when all is there it needs no root, no network and no time.
set -euo pipefail

purpose=${1:-test}

# A C compiler for aws-lc, which builds with `cc` alone on x86-64 and arm64; libkrb5, and what reads its headers.
build=(gcc libc6-dev libkrb5-dev libclang-dev pkg-config)
# A software TPM, systemd-creds, and what that loads to speak to it.
demo=("${build[@]}" curl openssl jq nginx swtpm tpm2-tools systemd
    libtss2-esys-3.0.2-0 libtss2-mu0 libtss2-rc0 libtss2-tcti-mssim0)
# The real components the tests run, and a systemd with bus and polkit for the box.
test=("${demo[@]}" make perl g++ python3 python3-venv faketime systemd-sysv libpam-systemd dbus polkitd util-linux mount
    e2fsprogs bindfs iproute2 procps socat man-db krb5-kdc krb5-admin-server krb5-user python3-gssapi slapd ldap-utils redis-server redis-tools memcached postgresql postgresql-client)
# Java's own tool opens the PKCS#12 files; whichever Java there is does.
command -v keytool >/dev/null || test+=(default-jre-headless)
# What tunnels are measured beside, and by.
bench=("${test[@]}" stunnel4 haproxy libnginx-mod-stream iperf3)
case $purpose in
    demo) wanted=("${demo[@]}") ;;
    test) wanted=("${test[@]}") ;;
    bench) wanted=("${bench[@]}") ;;
    *) echo "install: unknown purpose $purpose; say demo, test or bench" >&2; exit 64 ;;
esac

command -v cargo >/dev/null || {
    echo "install: cargo is not on the PATH; install Rust 1.95 or newer (https://rustup.rs), then try again" >&2
    exit 69
}
command -v dpkg-query >/dev/null || {
    echo "install: this is not Debian or a kin; install by hand what stands for: ${wanted[*]}" >&2
    exit 69
}

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [ "$state" = "ii " ] || missing+=("$package")
done
# What the tests compare with besides, in target/: OpenSSL 4, and Python with what the second client needs.
beside() {
    [ "$purpose" != demo ] || return 0
    local here target
    here=$(dirname "$(readlink -f "$0")")
    target=${CARGO_TARGET_DIR:-$here/../target}
    "$here/openssl4.sh" "$target/openssl4" >/dev/null
    "$here/python.sh" "$target/python" >/dev/null
}

if [ ${#missing[@]} -eq 0 ]; then
    echo "install: all packages for $purpose are there"
    beside
    exit
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    elif [ "$purpose" = demo ] && command -v cc >/dev/null && command -v curl >/dev/null && command -v openssl >/dev/null &&
        command -v jq >/dev/null && PATH=$PATH:/usr/sbin command -v nginx >/dev/null; then
        # What is left is the software TPM, and without it the demo seals by a key file and says so.
        echo "install: going on without: ${missing[*]} (no root and no sudo to install them)"
        exit
    else
        echo "install: missing: ${missing[*]}" >&2
        echo "install: no root and no sudo to install them; ask an administrator for" >&2
        echo "install:   apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 77
    fi
fi

# Packages of servers start them when installed. This machine is only to have the programs: runlevel 1 and, unless the
# machine has its own, a policy that says no.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    "${as_root[@]}" chmod 755 $policy
    made_policy=yes
fi
trap '[ -z "$made_policy" ] || "${as_root[@]}" rm -f $policy' EXIT

echo "install: installing for $purpose: ${missing[*]}"
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get --quiet=2 --option Dpkg::Use-Pty=0 "$@"; }
apt update
apt install --no-install-recommends "${missing[@]}" >/dev/null
beside
echo "install: done"
