//! One condition on a caller.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Pinning};

/// One condition on a caller. User and group names were resolved to numbers by the shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "selector", content = "value", rename_all = "snake_case")]
pub enum Selector {
    /// Effective user id.
    Uid(u32),
    /// Effective (primary) group id.
    Gid(u32),
    /// One of the supplementary groups.
    SupplementaryGroup(u32),
    /// Absolute path of the executable; holds only if the warden finds the running file there.
    Exe(String),
    /// SHA-256 of the executable, lower-case hex.
    Sha256(String),
    /// A system unit, e.g. `nginx.service`.
    Unit(String),
    /// A cgroup path, from the root; the caller is in it or below it.
    Cgroup(String),
}

impl Selector {
    /// Does the caller meet this condition? Without a pidfd only uid and gid are certain, so nothing else holds.
    pub fn holds(&self, caller: &Caller) -> bool {
        if caller.is_unknown() || (caller.pinning == Pinning::CredentialsOnly && !self.rests_on_credentials()) {
            return false;
        }
        match self {
            Self::Uid(uid) => caller.uid == *uid,
            Self::Gid(gid) => caller.gid == *gid,
            Self::SupplementaryGroup(gid) => caller.supplementary_groups.contains(gid),
            Self::Exe(path) => caller.exe.as_ref().and_then(|exe| exe.verified_path()) == Some(path),
            Self::Sha256(digest) => caller.exe.as_ref().and_then(|exe| exe.sha256.as_ref()) == Some(digest),
            Self::Unit(unit) => caller.unit() == Some(unit),
            Self::Cgroup(path) => caller.cgroup.as_ref().is_some_and(|cgroup| is_at_or_below(cgroup, path)),
        }
    }

    /// True for what `SO_PEERCRED` alone proves.
    pub fn rests_on_credentials(&self) -> bool {
        matches!(self, Self::Uid(_) | Self::Gid(_))
    }

    /// True for what all processes of a unit have in common.
    pub fn is_of_unit(&self) -> bool {
        matches!(self, Self::Unit(_) | Self::Cgroup(_))
    }

    /// True if it looks at the running file, which `execve` can replace while the connection stands.
    pub fn rests_on_executable(&self) -> bool {
        matches!(self, Self::Exe(_) | Self::Sha256(_))
    }

    /// What the caller has in this place, for the explanation.
    pub fn found_in(&self, caller: &Caller) -> String {
        let unknown = || "unknown".to_owned();
        match self {
            Self::Uid(_) => caller.uid.to_string(),
            Self::Gid(_) => caller.gid.to_string(),
            Self::SupplementaryGroup(_) => format!("{:?}", caller.supplementary_groups),
            Self::Exe(_) => caller.exe.as_ref().map_or_else(unknown, |exe| match exe.is_that_file {
                true => exe.shown_path.clone(),
                false => format!("{} (but another file is at that path)", exe.shown_path),
            }),
            Self::Sha256(_) => caller.exe.as_ref().and_then(|exe| exe.sha256.clone()).unwrap_or_else(unknown),
            Self::Unit(_) => caller.unit().map_or_else(|| "no system unit".to_owned(), str::to_owned),
            Self::Cgroup(_) => caller.cgroup.clone().unwrap_or_else(unknown),
        }
    }
}

fn is_at_or_below(cgroup: &str, path: &str) -> bool {
    cgroup.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path.ends_with('/'))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid = {uid}"),
            Self::Gid(gid) => write!(f, "gid = {gid}"),
            Self::SupplementaryGroup(gid) => write!(f, "supplementary_group = {gid}"),
            Self::Exe(path) => write!(f, "exe = {path:?}"),
            Self::Sha256(digest) => write!(f, "sha256 = {digest:?}"),
            Self::Unit(unit) => write!(f, "unit = {unit:?}"),
            Self::Cgroup(path) => write!(f, "cgroup = {path:?}"),
        }
    }
}
