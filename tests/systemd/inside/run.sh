#!/bin/bash
# Runs inside the box: the chapters, in order; each builds on the ones before.
#   run.sh host|tpm2     what is expected to seal the root secret: by itself, or because it is configured
set -Eeuo pipefail
sealed_by=$1
chapters=$(dirname "$(readlink -f "$0")")
. "$chapters/words.sh"

. "$chapters/install.sh"
[ "$sealed_by" = host ] || . "$chapters/tpm_begin.sh"
. "$chapters/activation.sh"
. "$chapters/files.sh"
. "$chapters/seal.sh"
if [ "$sealed_by" = host ]; then
    . "$chapters/rotation.sh"
    . "$chapters/view.sh"
    . "$chapters/guides.sh"
    . "$chapters/strangers.sh"
    . "$chapters/credentials.sh"
    . "$chapters/person.sh"
    . "$chapters/lifecycle.sh"
    . "$chapters/removal.sh"
else
    . "$chapters/tpm_swap.sh"
fi
echo "all of it held, sealed by $sealed_by"
