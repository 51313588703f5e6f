#!/bin/bash
# Builds the Debian package from built binaries, with dpkg-deb alone.
#
#   units/deb.sh [BINDIR [OUTDIR]]      default: target/dist target/debian; prints the package's path
#
# Everything from this folder goes to where systemd, polkit and dpkg look for it; nothing is enabled on install,
# because an agent without a configuration has nothing to do.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

bindir=${1:-target/dist}
outdir=${2:-target/debian}
for binary in reverie-agent agentctl; do
    [ -x "$bindir/$binary" ] || { echo "deb: $bindir/$binary does not exist; build first: make deb" >&2; exit 66; }
done
version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
put() { install -D --mode="$1" "$2" "$root/$3"; }

put 755 "$bindir/reverie-agent" usr/bin/reverie-agent
put 755 "$bindir/agentctl" usr/bin/agentctl
for unit in units/*.service units/*.socket; do put 644 "$unit" "usr/lib/systemd/system/${unit##*/}"; done
for unit in units/user/*; do put 644 "$unit" "usr/lib/systemd/user/${unit##*/}"; done
put 644 units/sysusers.conf usr/lib/sysusers.d/reverie.conf
put 644 units/tmpfiles.conf usr/lib/tmpfiles.d/reverie.conf
put 644 units/polkit.rules usr/share/polkit-1/rules.d/40-reverie.rules
put 644 LICENSE usr/share/doc/reverie/copyright

manual() { mkdir -p "$root/usr/share/man/man${1##*.}"; gzip -9n <"$1" >"$root/usr/share/man/man${1##*.}/${1##*/}.gz"; }
pages=$(mktemp -d)
trap 'rm -rf "$root" "$pages"' EXIT
"$bindir/agentctl" man --dir "$pages" >/dev/null
for page in docs/man/* "$pages"/*; do manual "$page"; done
completion() { mkdir -p "$root/usr/share/$2"; "$bindir/agentctl" completions "$1" >"$root/usr/share/$2/$3"; }
completion bash bash-completion/completions agentctl
completion zsh zsh/vendor-completions _agentctl
completion fish fish/vendor_completions.d agentctl.fish

for page in README.md CHANGELOG.md; do [ ! -e $page ] || put 644 $page usr/share/doc/reverie/$page; done

# The newest symbol version the binaries ask of the C library is the oldest library they run with.
libc=$(grep -aoh 'GLIBC_2\.[0-9]\+' "$root"/usr/bin/* | sort -uV | tail -n 1 | sed 's/GLIBC_//' || true)
put 755 units/deb/postinst DEBIAN/postinst
put 755 units/deb/prerm DEBIAN/prerm
put 755 units/deb/postrm DEBIAN/postrm
cat > "$root/DEBIAN/control" <<CONTROL
Package: reverie
Version: $version
Architecture: $architecture
Maintainer: The Reverie authors <reverie@example.org>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= ${libc:-2.36}), libgcc-s1, libgssapi-krb5-2, systemd (>= 252)
Recommends: dbus, polkitd, libtss2-esys-3.0.2-0, libtss2-mu0, libtss2-rc0, libtss2-tcti-device0
Section: admin
Priority: optional
Description: trust agent for local services
 Gives each local process its X.509 identity and secrets by what it is (user,
 program, systemd unit), keeps them fresh, and reloads the services that use them.
 Keys at rest are sealed by the TPM where there is one.
CONTROL

mkdir -p "$outdir"
package=$outdir/reverie_${version}_$architecture.deb
# Debug builds are large, and the package of a test is thrown away: REVERIE_DEB_LEVEL=1 saves a minute there.
dpkg-deb --root-owner-group -Zxz -z"${REVERIE_DEB_LEVEL:-6}" --build "$root" "$package" >&2
echo "$package"
