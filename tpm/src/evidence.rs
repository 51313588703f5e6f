//! What is noted at sealing so that a later refusal can name its cause.
//!
//! The program says "integrity check failed" for another TPM as for a flipped bit, and "policy digest does not match"
//! for changed PCRs as for another TPM with PCRs of its own. Three notes, none of them secret, tell them apart: the
//! digest of the sealed bytes; a witness, sealed to a PCR that is the same on every machine; and what the policy over
//! each bound PCR alone was. All three come through the program itself, so no other TPM tool is needed.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::credential::Header;
use crate::systemd_creds::damaged;
use crate::{Seal, SealError, SystemdCreds};

/// A dynamic-launch PCR: all ones from reset until a measured launch (TCG PC Client §4.6), which hardly any host does.
const WITNESS_PCR: u8 = 22;
const WITNESS_NAME: &str = "reverie-witness";

/// Notes taken at sealing. Public: it reveals nothing of the secret, and is not trusted to protect it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// SHA-256 of the sealed bytes, lower-case hex.
    pub sha256: String,
    /// Notes on the TPM, if one took part and could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmEvidence>,
}

/// Notes on the TPM that sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmEvidence {
    /// A credential with nothing in it that only the same TPM opens, whatever its boot state.
    pub witness: String,
    /// For each bound PCR, the digest of the policy over it alone, lower-case hex.
    pub pcrs: BTreeMap<u8, String>,
}

/// SHA-256 of `bytes`, lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

impl Evidence {
    /// Takes notes on `blob`, which `creds` (if it is not a key file) has just sealed. What the TPM does not tell is left out.
    pub fn gather(blob: &[u8], creds: Option<&SystemdCreds>) -> Self {
        let tpm = creds.filter(|creds| creds.mode().uses_tpm()).and_then(|creds| TpmEvidence::gather(blob, &creds.tpm_alone()));
        Self { sha256: sha256_hex(blob), tpm }
    }

    /// Whether `blob` is byte for byte what was sealed.
    pub fn belongs_to(&self, blob: &[u8]) -> bool {
        self.sha256 == sha256_hex(blob)
    }

    /// `error`, with its cause narrowed down as far as the notes allow. May ask the TPM, one short call for each PCR.
    pub fn explain(&self, error: SealError, blob: &[u8], creds: &SystemdCreds) -> SealError {
        let ambiguous =
            matches!(error, SealError::OtherTpmOrDamaged | SealError::OtherHostKeyOrDamaged | SealError::OtherPcrsOrTpm { .. });
        if ambiguous && !self.belongs_to(blob) {
            return damaged("it is not what was sealed");
        }
        match (error, &self.tpm) {
            (SealError::OtherTpmOrDamaged, _) => SealError::OtherTpm,
            (SealError::OtherHostKeyOrDamaged, _) => SealError::OtherHostKey,
            (SealError::OtherPcrsOrTpm { bound }, Some(tpm)) => {
                let creds = creds.tpm_alone();
                match creds.unseal(WITNESS_NAME, tpm.witness.as_bytes()) {
                    Ok(_) => SealError::OtherPcrs { changed: tpm.changed_pcrs(&creds), bound },
                    Err(SealError::OtherTpmOrDamaged) => SealError::OtherTpm,
                    Err(_) => SealError::OtherPcrsOrTpm { bound },
                }
            }
            (error, _) => error,
        }
    }
}

impl TpmEvidence {
    fn gather(blob: &[u8], creds: &SystemdCreds) -> Option<Self> {
        let header = Header::parse(blob).ok()?;
        let (witness, _) = creds.encrypt(WITNESS_NAME, &[], &[WITNESS_PCR]).ok()?;
        let witness = String::from_utf8(witness).ok()?.split_whitespace().collect();
        let pcrs = header.pcrs.iter().filter_map(|pcr| Some((*pcr, policy_over(creds, *pcr)?))).collect();
        Some(Self { witness, pcrs })
    }

    fn changed_pcrs(&self, creds: &SystemdCreds) -> Vec<u8> {
        let differs = |(pcr, then): &(&u8, &String)| policy_over(creds, **pcr).is_some_and(|now| now != **then);
        self.pcrs.iter().filter(differs).map(|(pcr, _)| *pcr).collect()
    }
}

/// The digest of the policy over `pcr` as it is now: read off an empty credential sealed to it.
fn policy_over(creds: &SystemdCreds, pcr: u8) -> Option<String> {
    let (_, header) = creds.encrypt(WITNESS_NAME, &[], &[pcr]).ok()?;
    header.policy_digest.map(|digest| HEXLOWER.encode(&digest))
}
