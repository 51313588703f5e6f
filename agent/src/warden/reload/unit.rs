//! A reload by systemd: `systemctl reload UNIT`, allowed to the warden by the polkit rule.

use std::process::Command;

use super::super::Options;
use super::super::failure::Failure;
use super::{Told, program};

pub(super) fn reload(unit: &str, user_manager: bool, options: &Options) -> Result<Told, Failure> {
    check_unit(unit)?;
    let systemctl = |arguments: &[&str]| {
        let mut command = Command::new(&options.systemctl);
        if user_manager {
            command.arg("--user");
        }
        // Without --no-ask-password a refusal by polkit would wait for somebody to type one.
        command.arg("--no-ask-password").args(arguments).arg("--").arg(unit);
        command
    };
    let keep: &[&str] = if user_manager { &["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"] } else { &[] };
    // One that does not run, such as before its first certificate, reads the new files when it starts.
    let show = systemctl(&["show", "--property=LoadState,ActiveState"]);
    let (_, state) = program::output(show, keep, options.reload_deadline)?;
    let is = |property: &str| state.lines().any(|line| line == property);
    // One that does not exist is inactive too: systemctl says so when it is asked to reload it.
    if is("LoadState=loaded") && (is("ActiveState=inactive") || is("ActiveState=failed")) {
        return Ok(Told::NotRunning);
    }
    program::run(systemctl(&["reload"]), keep, options.reload_deadline).map(|()| Told::Reloaded)
}

/// A service's full name (systemd.unit(5)). Patterns are refused: they would reload what no rule names.
fn check_unit(unit: &str) -> Result<(), Failure> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let stem = unit.strip_suffix(".service").unwrap_or_default();
    if stem.is_empty() || unit.len() > 255 || !unit.bytes().all(allowed) || unit.starts_with('-') {
        let unit: String = unit.chars().take(128).collect();
        return Err(format!("{unit:?} is no name of a service; write it in full, e.g. \"nginx.service\"").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_name_of_one_service_is_a_unit() {
        for good in ["nginx.service", "postgresql@15-main.service", "dbus-org.x.service", "a\\x2db.service"] {
            assert!(check_unit(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            ".service",
            "nginx",
            "-H.service",
            "--host=evil.service",
            "*.service",
            "a b.service",
            "a/b.service",
            "x\n.service",
        ] {
            assert!(check_unit(bad).is_err(), "{bad:?}");
        }
        assert!(check_unit(&format!("{}.service", "x".repeat(255))).is_err());
    }
}
