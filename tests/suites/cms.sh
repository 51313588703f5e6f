#!/bin/bash
# Envelopes by OpenSSL 4's command line.
#   tests/suites/cms.sh OPENSSL seal KEYS [--with-certificate] [OPTION of cms -sign ...] <payload >message     signs with KEYS/signer.key, seals to KEYS/kem.pub
#   tests/suites/cms.sh OPENSSL open KEYS <message >payload                               verifies with KEYS/signer.pub, opens with KEYS/kem.key
set -euo pipefail
openssl=$1 what=$2 keys=$3
shift 3
export OPENSSL_CONF=/dev/null
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# A key's name: the leftmost 160 bits of the SHA-256 of its public key bits, which end the SPKI.
kid() { "$openssl" pkey -pubin -in "$1" -outform DER | tail -c "$2" | sha256sum | cut -c1-40; }
# Certificates only tell the command line a key and its name; none goes into a message, none is verified.
"$openssl" genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$scratch/any.key"
certificate() {
    printf 'subjectKeyIdentifier = %s\n' "$(kid "$keys/$1.pub" "$2")" >"$scratch/extensions"
    "$openssl" x509 -new -force_pubkey "$keys/$1.pub" -signkey "$scratch/any.key" -subj "/CN=$1" \
        -extfile "$scratch/extensions" -out "$scratch/$1.crt" 2>"$scratch/said" || { cat "$scratch/said" >&2; exit 1; }
}
certificate signer 65
certificate kem 1184

# A tag and a length in DER.
element() {
    local length
    printf -v length %02x "$2"
    [ $((${#length} % 2)) = 0 ] || length=0$length
    [ "$2" -lt 128 ] || printf -v length '%02x%s' $((128 + ${#length} / 2)) "$length"
    printf "$(sed 's/../\\x&/g' <<<"$1$length")"
}
wrapped() {
    local size around
    size=$(stat -c %s "$1")
    around=$(element a0 "$size" | wc -c)
    element 30 $((11 + around + size))
    printf '\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03'
    element a0 "$size"
    cat "$1"
}

case $what in
    seal)
        certificates=-nocerts
        [ "${1-}" != --with-certificate ] || { certificates=; shift; }
        "$openssl" cms -encrypt -binary -outform DER -aes-256-cbc -recip "$scratch/kem.crt" -keyid -out "$scratch/info"
        # The signed content is the EnvelopedData itself (RFC 5652 §5.2), without the ContentInfo around it.
        offset=$("$openssl" asn1parse -inform DER -in "$scratch/info" | sed -n 's/^ *\([0-9]*\):d=2 .*/\1/p' | head -n1)
        "$openssl" asn1parse -inform DER -in "$scratch/info" -strparse "$offset" -noout -out "$scratch/enveloped"
        "$openssl" cms -sign -binary -nodetach $certificates -nosmimecap -md sha256 -keyid -econtent_type pkcs7-envelopedData "$@" \
            -signer "$scratch/signer.crt" -inkey "$keys/signer.key" -in "$scratch/enveloped" -outform DER
        ;;
    open)
        "$openssl" cms -verify -binary -inform DER -nointern -noverify -certfile "$scratch/signer.crt" -out "$scratch/enveloped" \
            2>"$scratch/said" || { cat "$scratch/said" >&2; exit 1; }
        # And the ContentInfo around it again, which cms -decrypt wants.
        wrapped "$scratch/enveloped" >"$scratch/info"
        "$openssl" cms -decrypt -binary -inform DER -in "$scratch/info" -recip "$scratch/kem.crt" -inkey "$keys/kem.key"
        ;;
    *) echo "cms.sh: say seal or open" >&2; exit 64 ;;
esac
