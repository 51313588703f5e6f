//! What is noted at sealing so that a later refusal can name its cause.
//!
//! The program says "integrity check failed" for another TPM as for a flipped bit, and "policy digest does not match"
//! without naming a PCR. Two notes, neither of them secret, tell more: the digest of the sealed bytes, and what the
//! policy over each bound PCR alone was. Both come through the program itself, so no other TPM tool is needed.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::credential::Header;
use crate::systemd_creds::damaged;
use crate::{SealError, SystemdCreds};

const PROBE_NAME: &str = "reverie-probe";

/// Notes taken at sealing. Public: it reveals nothing of the secret, and is not trusted to protect it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// SHA-256 of the sealed bytes, lower-case hex.
    pub sha256: String,
    /// For each bound PCR, the digest of the TPM policy over it alone, lower-case hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pcr_policies: BTreeMap<u8, String>,
}

/// SHA-256 of `bytes`, lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

impl Evidence {
    /// Takes notes on `blob`, which `creds` (if it is not a key file) has just sealed. What the TPM does not tell is left out.
    pub fn gather(blob: &[u8], creds: Option<&SystemdCreds>) -> Self {
        let pcrs = Header::parse(blob).map(|header| header.pcrs).unwrap_or_default();
        let tpm = creds.map(SystemdCreds::tpm_alone);
        let policies = pcrs.into_iter().filter_map(|pcr| Some((pcr, policy_over(tpm.as_ref()?, pcr)?)));
        Self { sha256: sha256_hex(blob), pcr_policies: policies.collect() }
    }

    /// Whether `blob` is byte for byte what was sealed.
    pub fn belongs_to(&self, blob: &[u8]) -> bool {
        self.sha256 == sha256_hex(blob)
    }

    /// `error`, with its cause narrowed down as far as the notes allow. May ask the TPM, one short call for each PCR.
    pub fn explain(&self, error: SealError, blob: &[u8], creds: &SystemdCreds) -> SealError {
        let damage_looks_like_it =
            matches!(error, SealError::OtherTpmOrDamaged | SealError::OtherHostKeyOrDamaged | SealError::OtherPcrs { .. });
        if damage_looks_like_it && !self.belongs_to(blob) {
            return damaged("it is not what was sealed");
        }
        match error {
            SealError::OtherTpmOrDamaged => SealError::OtherTpm,
            SealError::OtherHostKeyOrDamaged => SealError::OtherHostKey,
            SealError::OtherPcrs { bound, .. } => SealError::OtherPcrs { changed: self.changed_pcrs(&creds.tpm_alone()), bound },
            error => error,
        }
    }

    fn changed_pcrs(&self, creds: &SystemdCreds) -> Vec<u8> {
        let differs = |(pcr, then): &(&u8, &String)| policy_over(creds, **pcr).is_some_and(|now| now != **then);
        self.pcr_policies.iter().filter(differs).map(|(pcr, _)| *pcr).collect()
    }
}

/// The digest of the policy over `pcr` as it is now: read off an empty credential sealed to it.
fn policy_over(creds: &SystemdCreds, pcr: u8) -> Option<String> {
    let (_, header) = creds.encrypt(PROBE_NAME, &[], &[pcr]).ok()?;
    header.policy_digest.map(|digest| HEXLOWER.encode(&digest))
}
