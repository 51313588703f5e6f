//! Which way to seal is to be had here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::key_file::fill_random;
use crate::systemd_creds::{DEADLINE, PROGRAM};
use crate::{KeyFile, Mode, Policy, Seal, SealError, SystemdCreds};

/// Where each way to seal finds what it needs.
#[derive(Debug, Clone)]
pub struct Backends {
    /// The program `systemd-creds`.
    pub program: PathBuf,
    /// The TPM, if it is not systemd's own choice.
    pub tpm2_device: Option<String>,
    /// The key file, for [`Mode::File`].
    pub key_file: PathBuf,
    /// How long each call of the program may take.
    pub deadline: Duration,
}

/// A mode that was tried, and why it could not be had.
pub(crate) type PassedOver = Vec<(Mode, SealError)>;

impl Backends {
    /// The defaults, with the key file `root.key` in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { program: PROGRAM.into(), tpm2_device: None, key_file: dir.join("root.key"), deadline: DEADLINE }
    }

    /// What seals with `mode`.
    pub fn seal_for(&self, mode: Mode) -> Result<Box<dyn Seal>, SealError> {
        Ok(match self.systemd_creds(mode)? {
            Some(creds) => Box::new(creds),
            None => Box::new(KeyFile::new(&self.key_file)),
        })
    }

    /// The strongest mode that works here, shown by sealing and unsealing a probe, and those passed over. A mode
    /// that is here and fails is an error: a TPM that does not answer today is no reason to do without it for years.
    pub(crate) fn strongest(&self, policy: &Policy) -> Result<(Mode, PassedOver), SealError> {
        let mut passed_over = PassedOver::new();
        for mode in Mode::STRONGEST_FIRST {
            if !policy.is_empty() && !mode.uses_tpm() {
                let needs_tpm = || SealError::PolicyNeedsTpm { mode, pcrs: policy.pcrs().to_vec() };
                return Err(passed_over.pop().map_or_else(needs_tpm, |(_, why)| why));
            }
            if mode == Mode::File {
                break;
            }
            match self.probe(mode, policy) {
                Ok(()) => return Ok((mode, passed_over)),
                Err(why) if why.means_unavailable() => passed_over.push((mode, why)),
                Err(why) => return Err(why),
            }
        }
        Ok((Mode::File, passed_over))
    }

    pub(crate) fn systemd_creds(&self, mode: Mode) -> Result<Option<SystemdCreds>, SealError> {
        if mode == Mode::File {
            return Ok(None);
        }
        let creds = SystemdCreds::new(mode)?.with_program(self.program.clone())?.with_tpm2_device(self.tpm2_device.clone())?;
        Ok(Some(creds.with_deadline(self.deadline)))
    }

    fn probe(&self, mode: Mode, policy: &Policy) -> Result<(), SealError> {
        const NAME: &str = "reverie-probe";
        let mut probe = Zeroizing::new([0; 32]);
        fill_random(&mut *probe)?;
        let seal = self.seal_for(mode)?;
        let back = seal.unseal(NAME, &seal.seal(NAME, &*probe, policy)?)?;
        if back.as_slice() == probe.as_slice() {
            return Ok(());
        }
        Err(SealError::SealedOtherwise { program: self.program.clone(), why: "a probe came back changed".to_owned() })
    }
}
