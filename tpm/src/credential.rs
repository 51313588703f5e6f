//! What a systemd credential says about itself without being opened.
//!
//! Layout (systemd `src/shared/creds-util.c`, all little-endian, after base64): a 16-byte id that names the keys
//! used; key, block, IV and tag size (u32 each); the IV; padding to 8 bytes; then, if a TPM takes part, PCR mask
//! (u64), PCR bank and primary key algorithm (u16 each), blob and policy digest size (u32 each), blob, policy digest.
//! Nothing here is authenticated: it serves to explain, and to refuse what could not be unsealed anyway.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;

use crate::policy::pcrs_of;
use crate::{Mode, seal};

/// A SHA-256 policy digest, as the TPM holds it for a sealed object.
pub type PolicyDigest = [u8; 32];

const IDS: [([u8; 16], Mode); 3] = [
    ([0x5a, 0x1c, 0x6a, 0x86, 0xdf, 0x9d, 0x40, 0x96, 0xb1, 0xd5, 0xa6, 0x5e, 0x08, 0x62, 0xf1, 0x9a], Mode::Host),
    ([0x0c, 0x7c, 0xc0, 0x7b, 0x11, 0x76, 0x45, 0x91, 0x9c, 0x4b, 0x0b, 0xea, 0x08, 0xbc, 0x20, 0xfe], Mode::Tpm2),
    ([0x93, 0xa8, 0x94, 0x09, 0x48, 0x74, 0x44, 0x90, 0x90, 0xca, 0xf2, 0xfc, 0x93, 0xca, 0xb5, 0x53], Mode::HostTpm2),
];
const BANK_SHA256: u16 = 0x000b;
const CC_POLICY_PCR: u32 = 0x0000_017f;
const FIELD_MAX: usize = 16 * 1024;

/// The unencrypted head of a systemd credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The keys it is sealed with.
    pub mode: Mode,
    /// The PCRs it is bound to, ascending; empty where no TPM takes part.
    pub pcrs: Vec<u8>,
    /// The TPM policy that must be met; absent where no TPM takes part.
    pub policy_digest: Option<PolicyDigest>,
}

impl Header {
    /// Reads the head of `blob` (base64 text, as the program writes it). The error says what is wrong with it.
    pub fn parse(blob: &[u8]) -> Result<Self, &'static str> {
        if blob.len() > seal::MAX_SEALED {
            return Err("it is far too long");
        }
        let text: Vec<u8> = blob.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        let bytes = BASE64.decode(&text).map_err(|_| "it is cut short or not base64")?;
        let mut rest = Reader(&bytes);
        let id = rest.array::<16>()?;
        let mode = IDS.iter().find(|(known, _)| *known == id).map(|(_, mode)| *mode);
        let mode = mode.ok_or("it is not a credential sealed with tpm2, host or host+tpm2")?;
        let [key, block, iv, tag] = [rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?];
        if (key, block, iv, tag) != (32, 1, 12, 16) {
            return Err("its head names a cipher that no version of systemd uses");
        }
        rest.take(16)?; // the IV, padded
        if !mode.uses_tpm() {
            return Ok(Self { mode, pcrs: Vec::new(), policy_digest: None });
        }
        let mask = u64::from_le_bytes(rest.array()?);
        let mask = u32::try_from(mask).ok().filter(|mask| *mask < 1 << 24).ok_or("it names PCRs that no TPM has")?;
        let [bank, _primary] = [rest.u16()?, rest.u16()?];
        let [blob_len, digest_len] = [rest.u32()? as usize, rest.u32()? as usize];
        if blob_len > FIELD_MAX || digest_len > FIELD_MAX {
            return Err("it names a TPM object of an impossible size");
        }
        rest.take(blob_len)?;
        let digest = rest.take(digest_len)?;
        // A firmware without the SHA-256 bank: the digest is then no SHA-256 policy of ours to compare.
        let policy_digest = if bank == BANK_SHA256 { digest.try_into().ok() } else { None };
        Ok(Self { mode, pcrs: pcrs_of(mask), policy_digest })
    }

    /// Whether the binding binds nothing: the selected PCRs all had their reset value at sealing, so any machine
    /// whose firmware measures nothing into them meets the policy.
    pub fn is_unenforced(&self) -> bool {
        let Some(policy) = self.policy_digest else { return false };
        let reset: [fn(u8) -> u8; 3] = [|_| 0x00, |_| 0xff, |pcr| if (17..=22).contains(&pcr) { 0xff } else { 0x00 }];
        !self.pcrs.is_empty() && reset.into_iter().any(|value| pcr_policy(&self.pcrs, value) == policy)
    }
}

/// The digest of `TPM2_PolicyPCR` alone over the SHA-256 bank (TPM 2.0 Part 3 §23.7), for PCRs filled with one byte each.
fn pcr_policy(pcrs: &[u8], fill: fn(u8) -> u8) -> PolicyDigest {
    let mask: u32 = pcrs.iter().fold(0, |mask, pcr| mask | 1 << pcr);
    let values: Vec<u8> = pcrs.iter().flat_map(|pcr| [fill(*pcr); 32]).collect();
    let mut message = vec![0; 32];
    message.extend_from_slice(&CC_POLICY_PCR.to_be_bytes());
    message.extend_from_slice(&1u32.to_be_bytes());
    message.extend_from_slice(&BANK_SHA256.to_be_bytes());
    message.push(3);
    message.extend_from_slice(&mask.to_le_bytes()[..3]);
    message.extend_from_slice(digest(&SHA256, &values).as_ref());
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &message).as_ref());
    out
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (head, rest) = self.0.split_at_checked(len).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "it is cut short")
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sealed by systemd-creds 252 to PCR 10, which was all zero.
    const UNENFORCED: &str = include_str!("../tests/data/tpm2-pcr10-zero.cred");
    /// Sealed by systemd-creds 252 to PCR 7, which was not.
    const BOUND: &str = include_str!("../tests/data/tpm2-pcr7.cred");
    const HOST: &str = include_str!("../tests/data/host.cred");
    const HOST_TPM2: &str = include_str!("../tests/data/host+tpm2-pcr0+7.cred");

    #[test]
    fn the_head_of_a_credential_tells_mode_and_pcrs() {
        let parse = |text: &str| Header::parse(text.as_bytes()).unwrap();
        assert_eq!((parse(BOUND).mode, parse(BOUND).pcrs), (Mode::Tpm2, vec![7]));
        assert_eq!((parse(HOST).mode, parse(HOST).pcrs), (Mode::Host, vec![]));
        assert_eq!((parse(HOST_TPM2).mode, parse(HOST_TPM2).pcrs), (Mode::HostTpm2, vec![0, 7]));
    }

    #[test]
    fn a_policy_over_pcrs_that_were_never_extended_is_seen_to_bind_nothing() {
        assert!(Header::parse(UNENFORCED.as_bytes()).unwrap().is_unenforced());
        assert!(!Header::parse(BOUND.as_bytes()).unwrap().is_unenforced());
        assert!(!Header::parse(HOST.as_bytes()).unwrap().is_unenforced());
    }

    #[test]
    fn no_cut_and_no_flipped_bit_of_a_credential_upsets_the_reader() {
        for len in 0..BOUND.len() {
            let _ = Header::parse(&BOUND.as_bytes()[..len]);
        }
        let bytes = BASE64.decode(BOUND.replace('\n', "").as_bytes()).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            let _ = Header::parse(BASE64.encode(&damaged).as_bytes());
        }
        assert!(Header::parse(&BOUND.as_bytes()[..100]).is_err());
    }
}
