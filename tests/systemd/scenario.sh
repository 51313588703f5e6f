#!/bin/bash
# The shipped package under a real systemd: installed by dpkg, started by its sockets, sealed by the host key and then
# by a (software) TPM, serving a real nginx.
#
#   tests/systemd/scenario.sh [--deb FILE] [--without-tpm] [BINDIR]
#
#   BINDIR          where reverie-agent, agentctl and examples/swtpm_front were built; target/release
#   --deb FILE      try this package instead of one built from BINDIR
#   --without-tpm   leave the TPM half out, and say so
#
# Wants root (see `box`). The chapters are inside/*.sh, in the order of inside/run.sh.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")

deb='' with_tpm=yes
while [ $# -gt 0 ]; do
    case $1 in
        --deb) deb=$2; shift 2 ;;
        --without-tpm) with_tpm=no; shift ;;
        -*) echo "scenario: unknown option $1; the head of $0 lists them" >&2; exit 64 ;;
        *) break ;;
    esac
done
bindir=$(realpath -m "${1:-$root/target/release}")

share=$(mktemp -d /tmp/reverie-scenario.XXXXXX)
trap 'rm -rf "$share"' EXIT
[ -n "$deb" ] || deb=$(REVERIE_DEB_LEVEL=0 "$root/units/deb.sh" "$bindir" "$share/built") || { echo "scenario: units/deb.sh failed" >&2; exit 1; }
cp "$deb" "$share/reverie.deb"
cp -r "$here/inside" "$share/inside"
cp -r "$root/docs/guides" "$share/guides"

echo "== sealed by the host key"
"$here/box" --share "$share" -- bash /shared/inside/run.sh host

if [ $with_tpm = no ]; then
    echo "== LEFT OUT by --without-tpm: sealed by a TPM"
    exit
fi
front=$bindir/examples/swtpm_front
[ -x "$front" ] || { echo "scenario: $front does not exist; build it: cargo build -p reverie-tpm --example swtpm_front" >&2; exit 66; }
cp "$front" "$share/swtpm_front"
echo "== sealed by a TPM, as configured"
# Pid 1 opens the sealed secret, so it is pid 1 that must know the TPM; the box has a network, and so the port, of its own.
"$here/box" --share "$share" --pid1-env SYSTEMD_TPM2_DEVICE=mssim:host=127.0.0.1,port=2321 -- bash /shared/inside/run.sh tpm2
