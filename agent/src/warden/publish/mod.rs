//! Files for services, below the run directory: `certs/NAME/…`, `secrets/NAME`, and `stamps/NAME` for watchers.
//!
//! A reader sees the old content or the new, never a mixture and never less. Everything is done relative to
//! directory handles that were checked first; no path below the run directory is ever followed.

mod generation;
mod manifest;
mod name;
mod room;
mod secret;
mod stamp;
mod write;

#[cfg(test)]
mod attack_tests;
#[cfg(test)]
mod tests;

use std::path::Path;

use reverie_core::ipc::warden::{Publication, Target, TargetKind};

use super::failure::Failure;
use room::Room;

/// Makes the target hold exactly these files; false if it already did.
pub(super) fn publish(run_dir: &Path, publication: &Publication) -> Result<bool, Failure> {
    let name = name::check_target(&publication.target)?;
    name::check_files(&publication.files)?;
    match publication.target.kind {
        TargetKind::Certificates => {
            let (certs, stamps) = (Room::open(run_dir, "certs")?, Room::open(run_dir, "stamps")?);
            generation::publish(&certs, &stamps, name, publication)
        }
        TargetKind::Secret => secret::publish(&Room::open(run_dir, "secrets")?, name, publication),
    }
}

/// Removes the target and all that belongs to it. It may be gone already.
pub(super) fn withdraw(run_dir: &Path, target: &Target) -> Result<(), Failure> {
    let name = name::check_target(target)?;
    match target.kind {
        TargetKind::Certificates => {
            let (certs, stamps) = (Room::open(run_dir, "certs")?, Room::open(run_dir, "stamps")?);
            generation::withdraw(&certs, name)?;
            stamp::withdraw(&stamps, name)
        }
        TargetKind::Secret => secret::withdraw(&Room::open(run_dir, "secrets")?, name),
    }
}

/// The names that are published under a kind, in order.
pub(super) fn list(run_dir: &Path, kind: TargetKind) -> Result<Vec<String>, Failure> {
    let room = match kind {
        TargetKind::Certificates => "certs",
        TargetKind::Secret => "secrets",
    };
    let mut names = Room::open(run_dir, room)?.entries()?;
    names.retain(|name| name::is_target(name));
    names.sort();
    Ok(names)
}

/// Removes what a crash left behind: keys may be among it. Once, at the start; a failure is only logged, since each
/// later publication meets the same trouble and reports it.
pub(super) fn sweep(run_dir: &Path) {
    let swept = Room::open(run_dir, "certs")
        .and_then(|certs| generation::sweep(&certs))
        .and_then(|()| secret::sweep(&Room::open(run_dir, "secrets")?));
    if let Err(failure) = swept {
        tracing::warn!(?failure, "what an earlier run left behind could not be cleaned up");
    }
}
