//! `secrets/NAME`: one file, replaced by renaming.

use reverie_core::ipc::warden::{File, Publication};

use super::super::failure::Failure;
use super::manifest::Manifest;
use super::room::Room;
use super::write::{Access, write_new};

const IN_MAKING: &str = ".tmp";
const MANIFEST: &str = ".manifest";
const MANIFEST_IN_MAKING: &str = ".manifest.tmp";

pub(super) fn publish(secrets: &Room, name: &str, publication: &Publication) -> Result<bool, Failure> {
    let [file] = &*publication.files else {
        return Err(format!("a secret is one file, and {name:?} came with {}", publication.files.len()).into());
    };
    let access = Access::new(publication.uid, publication.gid, file.mode);
    let manifest = beside(name, MANIFEST);
    if Manifest::read(secrets, &manifest).has(secrets, name, file, access) {
        return Ok(false);
    }
    let (making, making_manifest) = (beside(name, IN_MAKING), beside(name, MANIFEST_IN_MAKING));
    let made = make(secrets, publication, file, access, &making, &making_manifest).and_then(|()| {
        // Without a manifest the file counts as changed: a crash from here on costs one needless writing.
        secrets.remove(&manifest)?;
        secrets.rename(&making, name)
    });
    if let Err(failure) = made {
        // The first failure is the one to report; what cannot be removed now is removed next time.
        let _ = secrets.remove(&making);
        let _ = secrets.remove(&making_manifest);
        return Err(failure);
    }
    secrets.rename(&making_manifest, &manifest)?;
    Ok(true)
}

/// Both files are complete, and have their space, before the first is put in place.
fn make(
    secrets: &Room,
    publication: &Publication,
    file: &File,
    access: Access,
    making: &str,
    making_manifest: &str,
) -> Result<(), Failure> {
    secrets.remove(making)?;
    secrets.remove(making_manifest)?;
    write_new(secrets, making, &file.content, access)?;
    Manifest::note(secrets, publication, |_| making.to_owned())?.write(secrets, making_manifest)
}

pub(super) fn withdraw(secrets: &Room, name: &str) -> Result<(), Failure> {
    secrets.remove(name)?;
    for suffix in [IN_MAKING, MANIFEST, MANIFEST_IN_MAKING] {
        secrets.remove(&beside(name, suffix))?;
    }
    Ok(())
}

/// Removes what was being written, and manifests of what is not there.
pub(super) fn sweep(secrets: &Room) -> Result<(), Failure> {
    for entry in secrets.entries()? {
        let Some(hidden) = entry.strip_prefix('.') else { continue };
        let stale = match hidden.strip_suffix(MANIFEST) {
            Some(name) => secrets.stat(name)?.is_none(),
            None => hidden.ends_with(IN_MAKING),
        };
        if stale {
            secrets.remove(&entry)?;
        }
    }
    Ok(())
}

fn beside(name: &str, suffix: &str) -> String {
    format!(".{name}{suffix}")
}
