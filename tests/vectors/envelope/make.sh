#!/bin/bash
# Makes the vectors of this folder anew, with OpenSSL 4 alone: keys, and two messages sealed and signed.
#   tests/vectors/envelope/make.sh OPENSSL        (tests/openssl4.sh prints the program)
set -euo pipefail
openssl=$(readlink -f "$1")
cd "$(dirname "$(readlink -f "$0")")"
export OPENSSL_CONF=/dev/null

printf 'A message that OpenSSL sealed, for Reverie to open.\n' >plaintext.txt

"$openssl" genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signer.key
"$openssl" pkey -in signer.key -pubout -out signer.pub
seed=$(printf '%s' {00..63} | head -c 128)
"$openssl" genpkey -algorithm ML-KEM-768 -pkeyopt "hexseed:$seed" -provparam ml-kem.output_formats=seed-only -out kem.key
"$openssl" pkey -in kem.key -pubout -out kem.pub
"$openssl" pkey -in kem.key -provparam ml-kem.output_formats=seed-priv -out kem-both.key
"$openssl" pkey -in kem.key -provparam ml-kem.output_formats=priv-only -out kem-expanded.key

seal() {
    ../../suites/cms.sh "$openssl" seal . "${@:2}" <plaintext.txt |
        { echo "-----BEGIN CMS-----"; base64 --wrap 64; echo "-----END CMS-----"; } >"$1"
}
seal message.pem -no_signing_time
seal message-with-signing-time.pem
