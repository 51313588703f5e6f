//! Sealing by the program `systemd-creds` (systemd 252 or later).

mod diagnosis;
mod program;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::credential::Header;
use crate::policy::list;
use crate::seal::{MAX_SEALED, check_name, check_sealed, check_secret};
use crate::{Description, Mode, Policy, Seal, SealError};
pub(crate) use diagnosis::damaged;
use program::{Finished, RunError};

/// Where the program is on every distribution that has it.
pub const PROGRAM: &str = "/usr/bin/systemd-creds";

/// How long one call may take. A hardware TPM needs up to about two seconds, more when others use it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What systemd-creds 252 and later use when no device is named.
const DEFAULT_DEVICE: &str = "/dev/tpmrm0";

/// Seals with [`Mode::Tpm2`], [`Mode::HostTpm2`] or [`Mode::Host`]. The sealed bytes are an ordinary systemd
/// credential, so `LoadCredentialEncrypted=` opens them too.
#[derive(Debug, Clone)]
pub struct SystemdCreds {
    mode: Mode,
    program: PathBuf,
    tpm2_device: Option<String>,
    deadline: Duration,
}

impl SystemdCreds {
    /// Seals with `mode`, which must not be [`Mode::File`].
    pub fn new(mode: Mode) -> Result<Self, SealError> {
        if mode == Mode::File {
            let reason = "is not done by systemd-creds; choose tpm2, host+tpm2 or host";
            return Err(SealError::InvalidSetting { key: "mode", value: mode.to_string(), reason });
        }
        Ok(Self { mode, program: PROGRAM.into(), tpm2_device: None, deadline: DEADLINE })
    }

    /// Uses the TPM at `device`: a path such as `/dev/tpmrm0`, or a TCTI such as `mssim:host=127.0.0.1,port=2341`.
    /// Without one it is systemd's own choice; `$SYSTEMD_TPM2_DEVICE` is not passed on.
    pub fn with_tpm2_device(mut self, device: Option<String>) -> Result<Self, SealError> {
        if let Some(device) = &device {
            let (driver, config) = device.split_once(':').unwrap_or((device, ""));
            let is_tcti = !driver.is_empty()
                && !config.is_empty()
                && driver.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if device.len() > 256 || !device.bytes().all(|b| b.is_ascii_graphic()) || !(device.starts_with('/') || is_tcti) {
                let reason =
                    "is not a TPM; write a path such as \"/dev/tpmrm0\" or a TCTI such as \"mssim:host=127.0.0.1,port=2321\"";
                return Err(SealError::InvalidSetting { key: "tpm2_device", value: device.chars().take(256).collect(), reason });
            }
        }
        self.tpm2_device = device;
        Ok(self)
    }

    /// Uses the program at `program`, an absolute path.
    pub fn with_program(mut self, program: PathBuf) -> Result<Self, SealError> {
        if !program.is_absolute() {
            let value = program.to_string_lossy().chars().take(256).collect();
            return Err(SealError::InvalidSetting { key: "program", value, reason: "must be an absolute path" });
        }
        self.program = program;
        Ok(self)
    }

    /// Gives each call `deadline`.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same TPM and program, sealing with the TPM alone: what evidence is gathered with.
    pub(crate) fn tpm_alone(&self) -> Self {
        Self { mode: Mode::Tpm2, ..self.clone() }
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn device_name(&self) -> &str {
        self.tpm2_device.as_deref().unwrap_or(DEFAULT_DEVICE)
    }

    /// Encrypts without looking at what came out, beyond its head.
    pub(crate) fn encrypt(&self, name: &str, secret: &[u8], pcrs: &[u8]) -> Result<(Vec<u8>, Header), SealError> {
        // Always named: left to itself ("auto") the program seals without a TPM where it finds none, and says nothing.
        let mut args = vec!["encrypt".to_owned(), format!("--with-key={}", self.mode), format!("--name={name}")];
        // Never `--tpm2-pcrs=` with nothing behind it: 252 seals that, and nobody can unseal it.
        if !pcrs.is_empty() {
            args.push(format!("--tpm2-pcrs={}", list(pcrs)));
        }
        let finished = self.run("seal", args, secret, MAX_SEALED)?;
        if !finished.status.success() {
            return Err(diagnosis::diagnose(self, "seal", name, None, &finished.stderr));
        }
        let otherwise = |why: String| SealError::SealedOtherwise { program: self.program.clone(), why };
        let header = Header::parse(&finished.stdout).map_err(|why| otherwise(why.to_owned()))?;
        if header.mode != self.mode {
            return Err(otherwise(format!("with {}", header.mode)));
        }
        if !pcrs.is_empty() && header.pcrs != pcrs {
            return Err(otherwise(format!("to PCRs {}", list(&header.pcrs))));
        }
        Ok((finished.stdout.to_vec(), header))
    }

    fn run(&self, doing: &'static str, mut args: Vec<String>, input: &[u8], max_output: usize) -> Result<Finished, SealError> {
        if let (Some(device), true) = (&self.tpm2_device, self.mode.uses_tpm()) {
            args.push(format!("--tpm2-device={device}"));
        }
        args.extend(["-".to_owned(), "-".to_owned()]);
        let program = || self.program.clone();
        program::run(&self.program, &args, input, max_output, self.deadline).map_err(|error| match error {
            RunError::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => {
                SealError::ProgramAbsent { program: program() }
            }
            RunError::NotStarted(error) if error.kind() == io::ErrorKind::PermissionDenied => SealError::NotPermitted {
                what: self.program.display().to_string(),
                detail: error.to_string(),
                remedy: "make it executable for this user",
            },
            RunError::NotStarted(source) => SealError::Io { doing: "start", path: program(), source },
            RunError::Timeout => SealError::Timeout { program: program(), doing, deadline: self.deadline },
            RunError::Flood => SealError::TooLong { what: "what systemd-creds wrote", len: max_output + 1, max: max_output },
            RunError::Pipe(source) => SealError::Io { doing: "talk to", path: program(), source },
        })
    }
}

impl Seal for SystemdCreds {
    fn seal(&self, name: &str, secret: &[u8], policy: &Policy) -> Result<Vec<u8>, SealError> {
        check_name(name)?;
        check_secret(secret)?;
        if !policy.is_empty() && !self.mode.uses_tpm() {
            return Err(SealError::PolicyNeedsTpm { mode: self.mode, pcrs: policy.pcrs().to_vec() });
        }
        let (blob, header) = self.encrypt(name, secret, policy.pcrs())?;
        if !policy.is_empty() && header.is_unenforced() {
            return Err(SealError::UnenforcedPolicy { pcrs: header.pcrs });
        }
        // A version whose default binds no PCR at all: fine if it can be read back, which 252 cannot.
        if self.mode.uses_tpm() && header.pcrs.is_empty() {
            self.unseal(name, &blob)?;
        }
        Ok(blob)
    }

    fn unseal(&self, name: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        check_name(name)?;
        check_sealed(blob)?;
        let header = Header::parse(blob).map_err(damaged)?;
        // The program opens whatever it can, also what anybody can seal (tpm2-absent): that would be a way in.
        if header.mode != self.mode {
            return Err(SealError::OtherMode { found: header.mode, expected: self.mode });
        }
        let args = vec!["decrypt".to_owned(), format!("--name={name}"), "--newline=no".to_owned()];
        let finished = self.run("unseal", args, blob, blob.len())?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        Err(diagnosis::diagnose(self, "unseal", name, Some(&header), &finished.stderr))
    }

    fn describe(&self) -> Description {
        let program = self.program.file_name().and_then(OsStr::to_str).unwrap_or(PROGRAM);
        let means = match self.mode {
            Mode::Tpm2 => format!("{program}, TPM at {}", self.device_name()),
            Mode::HostTpm2 => format!("{program}, TPM at {} and the host key", self.device_name()),
            Mode::Host | Mode::File => format!("{program}, the host key"),
        };
        Description::new(self.mode, means)
    }
}
