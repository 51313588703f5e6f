//! The configuration on disk.

use std::path::Path;

use crate::doctor::Facts;
use crate::doctor::finding::{Found, fail, ok, skipped, warn};
use crate::failure::Exit;
use crate::screen::counted;

const NO_CONFIG: &str = "the configuration could not be read";

pub(super) fn is_valid(facts: &Facts) -> Found {
    match &facts.config {
        Ok(declared) => ok(format!("{}, all good", counted(declared.files.len() as u64, "file", "files"))),
        Err(failure) if failure.exit == Exit::NotPermitted => skipped(&failure.what),
        Err(failure) => fail(&failure.what, failure.advice.as_deref().unwrap_or("agentctl config check")),
    }
}

pub(super) fn is_in_force(facts: &Facts) -> Found {
    let Ok(status) = &facts.status else { return skipped("not known without the admin socket") };
    let reload = facts.layout.systemctl("reload");
    if let Some(refused) = &status.config.refused {
        return fail(
            format!("the last re-read was refused, the one before is in force: {refused}"),
            format!("correct it, then {reload}"),
        );
    }
    let Ok(declared) = &facts.config else { return skipped(NO_CONFIG) };
    let mut pairs = declared.files.iter().zip(&status.config.files);
    // The agent may have been given a path relative to where it was started.
    let same = pairs.all(|(disk, loaded)| Path::new(disk).ends_with(loaded));
    if !same || declared.files.len() != status.config.files.len() {
        return warn("files were added or removed since the agent read them", format!("tell it: {reload}"));
    }
    match facts.config_changed {
        Some(changed) if changed > status.config.loaded_at => {
            warn(format!("changed at {changed}, read at {}", status.config.loaded_at), format!("tell the agent: {reload}"))
        }
        _ => ok("what is on disk is what the agent has read"),
    }
}

pub(super) fn names_existing_callers(facts: &Facts) -> Found {
    match &facts.config {
        Err(_) => skipped(NO_CONFIG),
        Ok(declared) if declared.missing_callers.is_empty() => ok("every user, group and unit in a `match` exists"),
        Ok(declared) => warn(
            format!("no caller can match: {}", declared.missing_callers.join("; ")),
            "correct the name, or install the service; `getent passwd`, `systemctl cat UNIT` show what exists",
        ),
    }
}

pub(super) fn names_existing_owners(facts: &Facts) -> Found {
    match &facts.config {
        Err(_) => skipped(NO_CONFIG),
        Ok(declared) if declared.missing_owners.is_empty() => ok("every owner and group of files exists"),
        Ok(declared) => fail(
            format!("files cannot be published: {}", declared.missing_owners.join("; ")),
            "correct the name, or make the user or group with systemd-sysusers",
        ),
    }
}

pub(super) fn has_credentials_that_can_be_asked_for(facts: &Facts) -> Found {
    match &facts.config {
        Err(_) => skipped(NO_CONFIG),
        Ok(declared) if declared.unaskable.is_empty() => ok("LoadCredential= can name every identity and secret of a unit"),
        Ok(declared) => warn(
            format!("LoadCredential= cannot name: {}", declared.unaskable.join("; ")),
            "shorten the name of the unit, the identity or the secret; or have the service read files or ask on agent.sock",
        ),
    }
}

pub(super) fn has_no_exposed_tunnel(facts: &Facts) -> Found {
    match &facts.config {
        Err(_) => skipped(NO_CONFIG),
        Ok(declared) if declared.exposed.is_empty() => ok("every plain end attests its callers"),
        Ok(declared) => {
            warn(declared.exposed.join("; "), "accept = \"unix\" attests its callers; leave it if they can reach ports only")
        }
    }
}

pub(super) fn has_an_admin_group(facts: &Facts) -> Found {
    match (&facts.config, facts.layout.scope) {
        (_, crate::layout::Scope::User) => ok("not needed: your own agent obeys you and root"),
        (Err(_), _) => skipped(NO_CONFIG),
        (Ok(declared), _) if declared.admin_group_exists => ok("it exists"),
        (Ok(_), _) => {
            warn("the group of administrators does not exist: only root can administer", "groupadd --system reverie-admin")
        }
    }
}
