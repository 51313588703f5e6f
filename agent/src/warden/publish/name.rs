//! Names, checked again: the warden does not take the keeper's word for what becomes a path.

use std::collections::BTreeSet;

use reverie_core::ipc::warden::{File, Target};

use super::super::failure::Failure;

/// More files than any rendering has.
const MAX_FILES: usize = 64;

pub(super) fn check_target(target: &Target) -> Result<&str, Failure> {
    if is_target(&target.name) {
        return Ok(&target.name);
    }
    let name: String = target.name.chars().take(128).collect();
    Err(format!("{name:?} cannot name a file: use 1 to 64 of a-z, 0-9, '.', '-' and '_', beginning with a letter or digit")
        .into())
}

/// The rules of `IdentityName` and `SecretName`.
pub(super) fn is_target(name: &str) -> bool {
    is_plain(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase()) && name != "self"
}

fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed) && name.as_bytes()[0].is_ascii_alphanumeric()
}

pub(super) fn check_files(files: &[File]) -> Result<(), Failure> {
    if files.is_empty() || files.len() > MAX_FILES {
        return Err(format!("a publication has {} files; it must have 1 to {MAX_FILES}", files.len()).into());
    }
    let mut seen = BTreeSet::new();
    for file in files {
        let name: String = file.name.chars().take(128).collect();
        if !is_plain(&file.name) {
            return Err(format!("{name:?} is no plain file name").into());
        }
        if !seen.insert(&file.name) {
            return Err(format!("a publication names {name:?} twice").into());
        }
        if file.mode > 0o777 {
            return Err(format!("mode {:o} of {name:?} is more than permission bits", file.mode).into());
        }
        if file.mode & 0o002 != 0 {
            return Err(format!("mode {:04o} would let everybody write {name:?}; remove o+w", file.mode).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_or_meet_our_own_is_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc", ".web.tmp", "-x", "A", "a\0b", "a b", "self", "ä", &"x".repeat(65)] {
            assert!(!is_target(bad), "{bad:?}");
        }
        assert!(is_target("web-1.prod_x") && is_target(&"x".repeat(64)));
    }

    #[test]
    fn files_are_refused_that_are_not_plain() {
        let file = |name: &str, mode| File { name: name.into(), mode, content: Vec::new(), made_from: None };
        assert!(check_files(&[file("tls.crt", 0o644), file("tls.key", 0o440), file("A-1_b", 0)]).is_ok());
        for bad in ["", "..", "a/b", ".hidden", "/etc/passwd", "a\0b", &"x".repeat(65)] {
            assert!(check_files(&[file(bad, 0o600)]).is_err(), "{bad:?}");
        }
        for mode in [0o4755, 0o2755, 0o1777, 0o666, 0o602, u32::MAX] {
            assert!(check_files(&[file("x", mode)]).is_err(), "{mode:o}");
        }
        assert!(check_files(&[]).is_err());
        assert!(check_files(&[file("x", 0o600), file("x", 0o600)]).is_err());
        let many: Vec<_> = (0..65).map(|n| file(&format!("f{n}"), 0o600)).collect();
        assert!(check_files(&many).is_err());
    }
}
