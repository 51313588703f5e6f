//! The program's complaints, told apart.
//!
//! systemd-creds has one exit status for everything; only its text differs. Phrases of 252 and of 255 to 258.

use super::SystemdCreds;
use crate::SealError;
use crate::credential::Header;

const HOST_KEY_REMEDY: &str = "run as root, or seal with tpm2 or file";
const TPM_REMEDY: &str = "join the group that owns the device (Debian: tss), or run as root";

/// Why the program failed to `doing` (`seal` or `unseal`) for `name`, by what it wrote to stderr.
pub(super) fn diagnose(
    creds: &SystemdCreds,
    doing: &'static str,
    name: &str,
    header: Option<&Header>,
    stderr: &str,
) -> SealError {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| stderr.contains(phrase));
    let line_with = |phrase: &str| tidy(stderr.lines().find(|line| line.contains(phrase)).unwrap_or_default());

    if let Some(sealed_as) = embedded_name(stderr) {
        return SealError::OtherName { expected: name.to_owned(), sealed_as };
    }
    if says(&["local credential host secret", "local credential key", "local credential host key"]) {
        let detail = line_with("local credential");
        if says(&["Permission denied", "Operation not permitted", "Read-only file system"]) {
            return SealError::NotPermitted { what: "systemd's host key".to_owned(), detail, remedy: HOST_KEY_REMEDY };
        }
        return SealError::HostKeyUnusable { detail };
    }
    if says(&["host key located on temporary file system", "host secret location on temporary file system"]) {
        return SealError::HostKeyUnusable { detail: line_with("temporary file system") };
    }
    if says(&["Failed to load libtss2", "Failed to dlopen", "TPM2 support is not installed", "shared libraries not found"]) {
        return SealError::TpmLibraryAbsent { detail: tidy(stderr.lines().next_back().unwrap_or_default()) };
    }
    if says(&["initialize TCTI context", "Failed to open specified TCTI device", "TPM2 not available", "System lacks TPM2"]) {
        let device = creds.device_name().to_owned();
        if says(&["Permission denied", "Operation not permitted"]) {
            let detail = line_with("TCTI device");
            return SealError::NotPermitted { what: format!("the TPM at {device}"), detail, remedy: TPM_REMEDY };
        }
        return SealError::TpmAbsent { device };
    }
    if says(&["policy digest does not match", "TPM policy does not match current system state"]) {
        // The object was loaded before its policy was tried: it is this TPM's.
        let bound = header.map(|header| header.pcrs.clone()).unwrap_or_default();
        return SealError::OtherPcrs { bound, changed: Vec::new() };
    }
    if says(&["integrity check failed", "Key most likely does not belong to this TPM", "does not belong to current TPM"]) {
        return SealError::OtherTpmOrDamaged;
    }
    if says(&["Decryption failed"]) {
        let with_host_key = header.is_some_and(|header| header.mode.uses_host_key());
        return if with_host_key { SealError::OtherHostKeyOrDamaged } else { damaged("it does not decrypt") };
    }
    if says(&["corrupted data", "Encrypted file too short", "in header", "Failed to read encrypted credential", "too large"]) {
        return damaged("it is not a whole systemd credential");
    }
    SealError::Failed { program: creds.program().to_owned(), doing, said: last_words(stderr) }
}

pub(crate) fn damaged(why: &str) -> SealError {
    SealError::Damaged { what: "the sealed secret".to_owned(), why: why.to_owned() }
}

fn embedded_name(stderr: &str) -> Option<String> {
    let rest = stderr.split_once("Embedded credential name '")?.1;
    Some(rest.split_once('\'')?.0.chars().take(255).collect())
}

fn last_words(stderr: &str) -> String {
    match stderr.lines().map(tidy).rfind(|line| !line.is_empty()) {
        Some(line) => line,
        None => "it gave no reason".to_owned(),
    }
}

/// One line of another program's words: printable, short.
fn tidy(line: &str) -> String {
    line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(240).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    fn diagnosed(mode: Mode, stderr: &str) -> SealError {
        let creds = SystemdCreds::new(mode).unwrap();
        let header = Header { mode, pcrs: vec![7], policy_digest: None };
        diagnose(&creds, "unseal", "n", Some(&header), stderr)
    }

    #[test]
    fn what_newer_versions_say_is_understood_too() {
        let other_tpm = "TPM key integrity check failed. Key most likely does not belong to this TPM.";
        assert!(matches!(diagnosed(Mode::Tpm2, other_tpm), SealError::OtherTpmOrDamaged));
        let pcrs =
            "TPM policy does not match current system state. Either system has been tempered with or policies out-of-date: x";
        assert!(matches!(diagnosed(Mode::Tpm2, pcrs), SealError::OtherPcrs { bound, .. } if bound == [7]));
    }

    #[test]
    fn an_unknown_complaint_is_passed_on_in_one_printable_line() {
        let error = diagnosed(Mode::Tpm2, "first\n\x1b[31mtpm:warn(2.0): out of memory\x1b[0m\n\n");
        assert_eq!(error.to_string(), "/usr/bin/systemd-creds could not unseal:  [31mtpm:warn(2.0): out of memory [0m");
        assert!(diagnosed(Mode::Tpm2, "").to_string().ends_with("it gave no reason"));
    }

    #[test]
    fn a_tpm_that_this_user_may_not_open_is_not_called_absent() {
        let stderr = "ERROR:tcti:tcti-device.c:452:Tss2_Tcti_Device_Init() Failed to open specified TCTI device file /dev/tpmrm0: \
                      Permission denied \nFailed to initialize TCTI context: tcti:IO failure";
        assert!(diagnosed(Mode::Tpm2, stderr).to_string().contains("join the group that owns the device"));
    }
}
