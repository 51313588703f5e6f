//! What is known of the process at the other end of a local socket.

use serde::{Deserialize, Serialize};

/// How firmly a caller's facts are tied to the process that connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pinning {
    /// By `SO_PEERPIDFD`: the kernel's own handle on the peer, alive after the facts were read.
    Pidfd,
    /// By `SO_PEERCRED` alone: uid and gids are certain, everything read through the pid is not.
    CredentialsOnly,
}

/// The file a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Executable {
    /// Device of the running file, as the warden sees it.
    pub device: u64,
    /// Inode of the running file.
    pub inode: u64,
    /// The path the kernel shows for it; in a private mount namespace it can say anything.
    pub shown_path: String,
    /// True if the warden, at `shown_path` in its own namespace, finds the very same device and inode.
    pub is_that_file: bool,
    /// SHA-256 of the running file, lower-case hex; only when a rule asks for it.
    pub sha256: Option<String>,
}

impl Executable {
    /// The path, if it was verified to name the running file.
    pub fn verified_path(&self) -> Option<&str> {
        self.is_that_file.then_some(self.shown_path.as_str())
    }
}

/// Everything the judge may look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Caller {
    /// Process id in the agent's pid namespace; for people, never for decisions.
    pub pid: i32,
    /// Effective user id at connect time.
    pub uid: u32,
    /// Effective group id at connect time.
    pub gid: u32,
    /// Supplementary groups at connect time (`SO_PEERGROUPS`), ascending.
    pub supplementary_groups: Vec<u32>,
    /// What ties the facts below to the peer.
    pub pinning: Pinning,
    /// The running file; absent where pinning is by credentials only.
    pub exe: Option<Executable>,
    /// cgroup v2 path, from the root of the hierarchy.
    pub cgroup: Option<String>,
}

/// The uid that the kernel shows for a user it cannot map.
pub const UNMAPPED_ID: u32 = 65534;

impl Caller {
    /// A caller about whom only uid and gids are certain.
    pub fn by_credentials(pid: i32, uid: u32, gid: u32, supplementary_groups: Vec<u32>) -> Self {
        Self { pid, uid, gid, supplementary_groups, pinning: Pinning::CredentialsOnly, exe: None, cgroup: None }
    }

    /// The system unit the caller belongs to, if any.
    pub fn unit(&self) -> Option<&str> {
        self.cgroup.as_deref().and_then(system_unit)
    }

    /// True for a peer from an outer pid namespace or with an unmapped uid: nothing about it can be trusted.
    pub fn is_unknown(&self) -> bool {
        self.pid <= 0 || self.uid == UNMAPPED_ID
    }

    /// True if the caller is in group `gid`, primary or supplementary.
    pub fn is_member_of(&self, gid: u32) -> bool {
        self.gid == gid || self.supplementary_groups.contains(&gid)
    }
}

/// The **system** unit that owns a cgroup path: below the root, past the slices, the first unit.
///
/// A user manager's unit lies below `user@UID.service`, so `…/user@1000.service/app.slice/nginx.service`
/// yields `user@1000.service`. A path that climbs out of the root (`/../x`, seen from a cgroup namespace) yields nothing.
pub fn system_unit(cgroup: &str) -> Option<&str> {
    let path = cgroup.strip_prefix('/')?;
    let mut unit = None;
    for component in path.split('/') {
        if matches!(component, "" | "." | "..") {
            return None;
        }
        if unit.is_none() && !component.ends_with(".slice") {
            unit = Some(component);
        }
    }
    unit.filter(|name| {
        name.ends_with(".service") || name.ends_with(".scope") || name.ends_with(".socket") || name.ends_with(".mount")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_unit_is_read_from_its_cgroup() {
        assert_eq!(system_unit("/system.slice/nginx.service"), Some("nginx.service"));
        assert_eq!(system_unit("/system.slice/system-pg.slice/pg@main.service"), Some("pg@main.service"));
        assert_eq!(system_unit("/system.slice/docker.service/sub/nginx.service"), Some("docker.service"));
    }

    #[test]
    fn a_user_managers_unit_of_the_same_name_is_not_the_system_unit() {
        let cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service";
        assert_eq!(system_unit(cgroup), Some("user@1000.service"));
    }

    #[test]
    fn a_path_outside_the_hierarchy_names_no_unit() {
        for odd in ["", "/", "nginx.service", "/../nginx.service", "/system.slice", "/a//nginx.service", "/plain/nginx.service"] {
            assert_eq!(system_unit(odd), None, "{odd:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_user_manager_contains_belongs_to_the_user_manager(tail in "[a-z.@/]{0,40}") {
            let cgroup = format!("/user.slice/user-1000.slice/user@1000.service/{tail}");
            let unit = system_unit(&cgroup);
            proptest::prop_assert!(unit.is_none() || unit == Some("user@1000.service"));
        }
    }
}
