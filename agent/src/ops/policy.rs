//! The configuration in force, with names looked up: what the judge and the outlets work from.

use std::collections::BTreeMap;
use std::path::Path;

use nix::unistd::{Group, User};
use reverie_core::config::{Config, FileRule, Identity, Match, Secret};
use reverie_core::id::{IdentityName, SecretName};
use reverie_core::rule::{Judge, Rule, Selector};

use super::host::Scope;

/// Owner and mode, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Owner; `None` is the warden's.
    pub uid: Option<u32>,
    /// Group; `None` is the warden's.
    pub gid: Option<u32>,
    /// Of files with keys or secrets.
    pub mode: u32,
}

/// An identity with its owner looked up.
#[derive(Debug, Clone)]
pub struct PolicyIdentity {
    /// As declared.
    pub declared: Identity,
    /// `None`: no files are declared, or their owner cannot be looked up now.
    pub files: Option<Ownership>,
    /// The uid that a pidfile's process must have, where no unit binds it.
    pub uid: Option<u32>,
}

/// A secret with its owner looked up.
#[derive(Debug, Clone)]
pub struct PolicySecret {
    /// As declared.
    pub declared: Secret,
    /// `None`: no file is declared, or its owner cannot be looked up now.
    pub files: Option<Ownership>,
}

impl PolicySecret {
    /// True if a holder of one of these identities may read it.
    pub fn is_readable_by(&self, own: &[&Rule]) -> bool {
        own.iter().any(|rule| self.declared.allow.contains(&rule.name))
    }
}

/// The configuration in force.
#[derive(Debug)]
pub struct Policy {
    /// As the files have it.
    pub config: Config,
    /// Who may have what.
    pub judge: Judge,
    /// By name.
    pub identities: BTreeMap<IdentityName, PolicyIdentity>,
    /// By name.
    pub secrets: BTreeMap<SecretName, PolicySecret>,
    /// Administrators' group, if it exists.
    pub admin_gid: Option<u32>,
    /// What could not be looked up: subject and message.
    pub findings: Vec<(String, String)>,
}

impl Policy {
    /// Looks up every name. Blocking: a directory may be asked.
    ///
    /// A name that does not exist (yet: packages create users) makes its own rule match nobody and is reported;
    /// it does not take the rest of the host down. The same if the directory fails: it is asked again.
    pub fn new(config: Config, scope: Scope) -> Self {
        let mut names = Names::default();
        let rules = config.identities.iter().map(|identity| rule(identity, &mut names)).collect();
        let identities = config.identities.iter().map(|declared| {
            let subject = subject_of("identity", &declared.name);
            let files = declared.files.as_ref().and_then(|rule| names.ownership(&subject, rule));
            let uid = declared.matches.uid.or_else(|| declared.matches.user.as_ref().and_then(|user| names.uid(&subject, user)));
            (declared.name.clone(), PolicyIdentity { declared: declared.clone(), files, uid })
        });
        let identities = identities.collect();
        let secrets = config.secrets.iter().map(|declared| {
            let subject = subject_of("secret", &declared.name);
            let files = declared.files.as_ref().and_then(|rule| names.ownership(&subject, rule));
            (declared.name.clone(), PolicySecret { declared: declared.clone(), files })
        });
        let secrets = secrets.collect();
        // Administrators of the machine are not administrators of one person's agent.
        let admin_gid = match scope {
            Scope::System => Group::from_name(&config.admin.group).ok().flatten().map(|group| group.gid.as_raw()),
            Scope::User => None,
        };
        Self { judge: Judge::new(rules), identities, secrets, admin_gid, config, findings: names.findings }
    }
}

/// Subjects of findings begin with it.
pub const NAMES: &str = "names in ";

fn subject_of(kind: &str, name: &impl std::fmt::Display) -> String {
    format!("{NAMES}{kind} {name}")
}

/// A number, or why there is none.
type LookedUp = Result<u32, String>;

fn looked_up(kind: &str, name: &str, answer: nix::Result<Option<u32>>) -> LookedUp {
    match answer {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(format!("the {kind} {name:?} does not exist: create it, or correct the name")),
        Err(error) => Err(format!("the {kind} {name:?} could not be looked up: {error}; is the directory service running?")),
    }
}

/// Lookups, each done once.
#[derive(Default)]
struct Names {
    users: BTreeMap<String, LookedUp>,
    groups: BTreeMap<String, LookedUp>,
    findings: Vec<(String, String)>,
}

impl Names {
    fn uid(&mut self, subject: &str, name: &str) -> Option<u32> {
        let ask = || looked_up("user", name, User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())));
        let uid = self.users.entry(name.to_owned()).or_insert_with(ask).clone();
        uid.map_err(|why| self.report(subject, why)).ok()
    }

    fn gid(&mut self, subject: &str, name: &str) -> Option<u32> {
        let ask = || looked_up("group", name, Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())));
        let gid = self.groups.entry(name.to_owned()).or_insert_with(ask).clone();
        gid.map_err(|why| self.report(subject, why)).ok()
    }

    fn report(&mut self, subject: &str, message: String) {
        let finding = (subject.to_owned(), message);
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// `None` if a name is unknown: then nothing is published, rather than something with the wrong owner.
    fn ownership(&mut self, subject: &str, rule: &FileRule) -> Option<Ownership> {
        let uid = rule.owner.as_ref().map(|name| self.uid(subject, name));
        let gid = rule.group.as_ref().map(|name| self.gid(subject, name));
        match (uid, gid) {
            (Some(None), _) | (_, Some(None)) => None,
            (uid, gid) => Some(Ownership { uid: uid.flatten(), gid: gid.flatten(), mode: rule.mode.0 }),
        }
    }
}

fn rule(identity: &Identity, names: &mut Names) -> Rule {
    let subject = subject_of("identity", &identity.name);
    // A rule without selectors matches nobody: that is what an unknown name leads to.
    let selectors = selectors(&identity.matches, &subject, names).unwrap_or_default();
    Rule { name: identity.name.clone(), spiffe_id: identity.spiffe_id.clone(), hint: identity.hint.clone(), selectors }
}

fn selectors(matches: &Match, subject: &str, names: &mut Names) -> Option<Vec<Selector>> {
    let Match { uid, user, gid, group, supplementary_group, exe, sha256, unit, cgroup } = matches;
    let mut selectors = vec![];
    selectors.extend(uid.map(Selector::Uid));
    if let Some(user) = user {
        selectors.push(Selector::Uid(names.uid(subject, user)?));
    }
    selectors.extend(gid.map(Selector::Gid));
    if let Some(group) = group {
        selectors.push(Selector::Gid(names.gid(subject, group)?));
    }
    if let Some(group) = supplementary_group {
        selectors.push(Selector::SupplementaryGroup(names.gid(subject, group)?));
    }
    selectors.extend(exe.as_ref().map(|path| Selector::Exe(resolved(path))));
    selectors.extend(sha256.as_ref().map(|digest| Selector::Sha256(digest.to_ascii_lowercase())));
    selectors.extend(unit.clone().map(Selector::Unit));
    selectors.extend(cgroup.clone().map(Selector::Cgroup));
    Some(selectors)
}

/// `/bin/x` is `/usr/bin/x` to the kernel: links are followed, where the file can be seen.
fn resolved(path: &str) -> String {
    Path::new(path)
        .canonicalize()
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use reverie_core::caller::{Caller, Pinning};
    use reverie_core::config::{Source, parse};
    use reverie_core::rule::Verdict;

    use super::*;

    fn policy(rule: &str) -> Policy {
        let text = format!(
            "trust_domain = \"example.org\"\n[[identity]]\nname = \"x\"\nmatch = {{ {rule} }}\nfiles = {{ owner = \"root\" }}\n"
        );
        Policy::new(parse(Source { file: "t", text: &text }, &[]).unwrap(), Scope::System)
    }

    #[test]
    fn a_user_name_becomes_a_uid() {
        let policy = policy("user = \"root\"");
        let mut caller = Caller::by_credentials(1, 0, 0, vec![]);
        caller.pinning = Pinning::Pidfd;
        assert!(matches!(policy.judge.judge(&caller), Verdict::Allow(_)));
        assert_eq!(policy.identities.values().next().unwrap().files.unwrap().uid, Some(0));
    }

    #[test]
    fn a_rule_with_an_unknown_name_matches_nobody_and_is_reported() {
        let policy = policy("uid = 0, group = \"no-such-group\"");
        let mut caller = Caller::by_credentials(1, 0, 0, vec![]);
        caller.pinning = Pinning::Pidfd;
        assert!(matches!(policy.judge.judge(&caller), Verdict::Deny(_)));
        assert!(policy.findings[0].1.contains("no-such-group"));
    }
}
