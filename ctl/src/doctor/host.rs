//! What the host says: files, users, units, the kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{Group, User};
use reverie_core::config::{Config, FileRule};
use reverie_core::moment::Moment;

use super::facts::Directory;

const UNIT_FOLDERS: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/run/systemd/transient",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Is a socket there, and does somebody take connections on it?
pub(super) fn listens(socket: &Path) -> Result<(), String> {
    UnixStream::connect(socket).map(drop).map_err(|error| error.to_string())
}

pub(super) fn kernel() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(['.', '-', '\n']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

pub(super) fn changed_at(path: &Path) -> Option<Moment> {
    let metadata = path.metadata().ok()?;
    Some(Moment::from_millis(metadata.mtime().saturating_mul(1000) + metadata.mtime_nsec() / 1_000_000))
}

pub(super) fn directory(path: &Path) -> Option<Directory> {
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_dir)?;
    let on_tmpfs = statfs(path).is_ok_and(|filesystem| filesystem.filesystem_type() == TMPFS_MAGIC);
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
    Some(Directory { path: path.display().to_string(), on_tmpfs, uid, gid, mode })
}

pub(super) fn room(path: &Path) -> Option<(u64, u64)> {
    let filesystem = statfs(path).ok()?;
    let block = u64::try_from(filesystem.block_size()).ok()?;
    Some((filesystem.blocks_available().saturating_mul(block), filesystem.blocks().saturating_mul(block)))
}

pub(super) fn group(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

fn has_user(name: &str) -> bool {
    User::from_name(name).is_ok_and(|user| user.is_some())
}

/// A unit file, or the template it is an instance of. Scopes come and go and are not looked for.
fn has_unit(unit: &str) -> bool {
    let template = unit.split_once('@').and_then(|(name, rest)| Some(format!("{name}@{}", &rest[rest.rfind('.')?..])));
    let exists = |name: &str| UNIT_FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists());
    unit.ends_with(".scope") || exists(unit) || template.is_some_and(|template| exists(&template))
}

/// Users, groups and units that a `match` names and this host lacks.
pub(super) fn missing_callers(config: &Config) -> Vec<String> {
    let mut missing = vec![];
    for identity in &config.identities {
        let matches = &identity.matches;
        let mut note = |kind: &str, name: &Option<String>, exists: &dyn Fn(&str) -> bool| {
            if let Some(name) = name.as_ref().filter(|name| !exists(name)) {
                missing.push(format!("{}: no {kind} {name:?} ({})", identity.name, identity.declared_at));
            }
        };
        note("user", &matches.user, &has_user);
        note("group", &matches.group, &|name| group(name).is_some());
        note("group", &matches.supplementary_group, &|name| group(name).is_some());
        note("unit", &matches.unit, &has_unit);
        note("file", &matches.exe, &|path| Path::new(path).exists());
    }
    missing
}

/// Owners and groups of files that this host lacks.
pub(super) fn missing_owners(config: &Config) -> Vec<String> {
    let identities = config.identities.iter().filter_map(|identity| Some((identity.files.as_ref()?, &identity.declared_at)));
    let secrets = config.secrets.iter().filter_map(|secret| Some((secret.files.as_ref()?, &secret.declared_at)));
    let mut missing = vec![];
    for (FileRule { owner, group: name, .. }, place) in identities.chain(secrets) {
        if let Some(owner) = owner.as_ref().filter(|owner| !has_user(owner)) {
            missing.push(format!("no user {owner:?} ({place})"));
        }
        if let Some(name) = name.as_ref().filter(|name| group(name).is_none()) {
            missing.push(format!("no group {name:?} ({place})"));
        }
    }
    missing
}

/// Generations are `.NAME.N`; the current one, which `NAME` links to, and the one before it belong there.
pub(super) fn stale_generations(certs: &Path) -> Vec<String> {
    let mut generations: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for entry in std::fs::read_dir(certs).into_iter().flatten().flatten().take(1_000_000) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let parsed = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
        if let Some((identity, Ok(number))) = parsed.map(|(identity, number)| (identity, number.parse())).filter(|_| is_directory)
        {
            generations.entry(identity.to_owned()).or_default().push((number, entry.path().display().to_string()));
        }
    }
    let mut stale = vec![];
    for (identity, mut numbers) in generations {
        numbers.sort();
        let current = std::fs::read_link(certs.join(&identity)).ok();
        let current = current.and_then(|link| link.extension()?.to_str()?.parse::<u64>().ok());
        let kept: Vec<u64> = match current {
            None => vec![],
            Some(current) => {
                let before = numbers.iter().map(|(number, _)| *number).filter(|number| *number < current).max();
                [Some(current), before].into_iter().flatten().collect()
            }
        };
        // A number above the current one is being written just now.
        let newest = current.unwrap_or(u64::MAX);
        stale.extend(numbers.into_iter().filter(|(number, _)| !kept.contains(number) && *number < newest).map(|(_, path)| path));
    }
    stale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generations_that_nobody_needs_are_stale() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".web.1", ".web.2", ".web.3", ".web.4", ".gone.7"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(".web.3", folder.path().join("web")).unwrap();
        let stale = stale_generations(folder.path());
        let names: Vec<&str> = stale.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, [".gone.7", ".web.1"]);
    }

    #[test]
    fn an_instance_exists_if_its_template_does_and_a_scope_is_not_looked_for() {
        assert!(has_unit("session-1.scope"));
        assert!(!has_unit("no-such-unit-here.service") && !has_unit("no-such@1.service"));
    }
}
