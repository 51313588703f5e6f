//! The judge: from a caller to the identities it may have.

use std::collections::BTreeMap;

use super::Selector;
use crate::caller::Caller;
use crate::id::{IdentityName, SpiffeId};

/// Who may have one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The identity's local name.
    pub name: IdentityName,
    /// What its certificate says.
    pub spiffe_id: SpiffeId,
    /// Free text that helps a caller with several identities choose.
    pub hint: Option<String>,
    /// All must hold. Never empty.
    pub selectors: Vec<Selector>,
}

impl Rule {
    /// True if every selector holds; false for a rule without any.
    pub fn matches(&self, caller: &Caller) -> bool {
        !self.selectors.is_empty() && self.selectors.iter().all(|selector| selector.holds(caller))
    }

    /// True if the rule looks at the running file.
    pub fn rests_on_executable(&self) -> bool {
        self.selectors.iter().any(Selector::rests_on_executable)
    }
}

/// Finds the rules that a caller meets, in time independent of how many rules there are for others.
///
/// Each rule is filed under its most telling selector; a caller can only meet rules filed under its own facts.
#[derive(Debug, Default)]
pub struct Judge {
    rules: Vec<Rule>,
    by_name: BTreeMap<IdentityName, usize>,
    by_key: BTreeMap<Selector, Vec<usize>>,
    by_cgroup: Vec<usize>,
    /// Those with a `sha256` selector, filed like `by_key` but by their narrowest other selector.
    by_key_but_digest: BTreeMap<Selector, Vec<usize>>,
}

/// What the judge says.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict<'a> {
    /// The identities, in the order of the configuration; the first is the default.
    Allow(Vec<&'a Rule>),
    /// None.
    Deny(Refusal),
}

/// Why a caller has nothing. Deliberately without the rules: those are for administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// From an outer pid namespace, or with an unmapped uid.
    #[error("the kernel does not say who this process is (it runs in another pid or user namespace)")]
    UnknownCaller,
    /// No rule's selectors all hold.
    #[error("no rule matches this process")]
    NoRule,
    /// The rule looks at more of a process than its unit, before there is a process.
    #[error("the rule looks at more than the unit")]
    NotForUnit,
    /// The caller has identities, but not this one, or this one does not exist: the same answer for both.
    #[error("this process has no such identity")]
    NotThisOne,
}

impl Judge {
    /// Files the rules. Their names are unique: the configuration saw to it.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut judge = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            judge.by_name.insert(rule.name.clone(), index);
            match rule.selectors.iter().min_by_key(|selector| breadth(selector)) {
                None => {}
                Some(Selector::Cgroup(_)) => judge.by_cgroup.push(index),
                Some(key) => judge.by_key.entry(key.clone()).or_default().push(index),
            }
            let others = rule.selectors.iter().filter(|selector| !is_digest(selector));
            if rule.selectors.iter().any(is_digest)
                && let Some(key) = others.min_by_key(|selector| breadth(selector))
            {
                judge.by_key_but_digest.entry(key.clone()).or_default().push(index);
            }
        }
        judge.rules = rules;
        judge
    }

    /// All rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// True if some rule wants the digest of the executable.
    pub fn digests_exe(&self) -> bool {
        !self.by_key_but_digest.is_empty()
    }

    /// True if the digest of the executable is all that is lacking to meet some rule: nobody else's file is worth reading.
    pub fn awaits_digest(&self, caller: &Caller) -> bool {
        let holds_otherwise = |&index: &usize| {
            self.rules[index].selectors.iter().filter(|selector| !is_digest(selector)).all(|selector| selector.holds(caller))
        };
        !self.by_key_but_digest.is_empty()
            && keys_of(caller).filter_map(|key| self.by_key_but_digest.get(&key)).flatten().any(holds_otherwise)
    }

    /// Which identities may this caller have?
    pub fn judge(&self, caller: &Caller) -> Verdict<'_> {
        if caller.is_unknown() {
            return Verdict::Deny(Refusal::UnknownCaller);
        }
        let mut met: Vec<usize> = keys_of(caller)
            .filter_map(|key| self.by_key.get(&key))
            .flatten()
            .chain(&self.by_cgroup)
            .copied()
            .filter(|&index| self.rules[index].matches(caller))
            .collect();
        if met.is_empty() {
            return Verdict::Deny(Refusal::NoRule);
        }
        met.sort_unstable();
        met.dedup();
        Verdict::Allow(met.into_iter().map(|index| &self.rules[index]).collect())
    }

    /// May this caller have the identity `name`? An identity that does not exist and one that is another's are refused alike.
    pub fn judge_for(&self, caller: &Caller, name: &IdentityName) -> Result<&Rule, Refusal> {
        if caller.is_unknown() {
            return Err(Refusal::UnknownCaller);
        }
        self.rule(name).filter(|rule| rule.matches(caller)).ok_or(Refusal::NotThisOne)
    }

    /// May the unit that the service manager starts have the identity `name`? Of `caller`, which is the service manager in
    /// the unit's cgroup, only that cgroup is the unit's own: what else a rule looks at cannot be judged before the unit runs.
    pub fn judge_unit(&self, caller: &Caller, name: &IdentityName) -> Result<&Rule, Refusal> {
        if caller.is_unknown() {
            return Err(Refusal::UnknownCaller);
        }
        let rule = self.rule(name).ok_or(Refusal::NotThisOne)?;
        let (of_unit, others): (Vec<_>, Vec<_>) = rule.selectors.iter().partition(|selector| selector.is_of_unit());
        match !of_unit.is_empty() && of_unit.iter().all(|selector| selector.holds(caller)) {
            false => Err(Refusal::NotThisOne),
            true if others.is_empty() => Ok(rule),
            true => Err(Refusal::NotForUnit),
        }
    }

    /// The rule of that name, whoever asks.
    pub fn rule(&self, name: &IdentityName) -> Option<&Rule> {
        self.by_name.get(name).map(|&index| &self.rules[index])
    }
}

fn is_digest(selector: &Selector) -> bool {
    matches!(selector, Selector::Sha256(_))
}

/// How many callers a selector is likely to let through: rules are filed under the narrowest.
fn breadth(selector: &Selector) -> u8 {
    match selector {
        Selector::Unit(_) => 0,
        Selector::Sha256(_) => 1,
        Selector::Uid(_) => 2,
        Selector::Exe(_) => 3,
        Selector::Gid(_) => 4,
        Selector::SupplementaryGroup(_) => 5,
        Selector::Cgroup(_) => 6,
    }
}

/// Every selector, cgroups aside, that could hold for this caller.
fn keys_of(caller: &Caller) -> impl Iterator<Item = Selector> + '_ {
    let exe = caller.exe.as_ref();
    [Selector::Uid(caller.uid), Selector::Gid(caller.gid)]
        .into_iter()
        .chain(caller.unit().map(|unit| Selector::Unit(unit.to_owned())))
        .chain(exe.and_then(|exe| exe.verified_path()).map(|path| Selector::Exe(path.to_owned())))
        .chain(exe.and_then(|exe| exe.sha256.clone()).map(Selector::Sha256))
        .chain(caller.supplementary_groups.iter().map(|&gid| Selector::SupplementaryGroup(gid)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::caller::{Executable, Pinning};

    pub(super) fn rule(name: &str, selectors: &[Selector]) -> Rule {
        Rule {
            name: name.parse().unwrap(),
            spiffe_id: format!("spiffe://example.org/svc/{name}").parse().unwrap(),
            hint: None,
            selectors: selectors.to_vec(),
        }
    }

    fn caller(uid: u32) -> Caller {
        Caller {
            pid: 100,
            uid,
            gid: uid,
            supplementary_groups: vec![50],
            pinning: Pinning::Pidfd,
            exe: Some(Executable { device: 1, inode: 2, shown_path: "/usr/sbin/nginx".into(), is_that_file: true, sha256: None }),
            cgroup: Some("/system.slice/nginx.service".into()),
        }
    }

    fn names(verdict: Verdict<'_>) -> Vec<String> {
        match verdict {
            Verdict::Allow(rules) => rules.iter().map(|rule| rule.name.to_string()).collect(),
            Verdict::Deny(_) => vec![],
        }
    }

    #[test]
    fn selectors_of_a_rule_must_all_hold() {
        let judge = Judge::new(vec![rule("web", &[Selector::Uid(33), Selector::Unit("nginx.service".into())])]);
        assert_eq!(names(judge.judge(&caller(33))), ["web"]);
        let mut elsewhere = caller(33);
        elsewhere.cgroup = Some("/user.slice/user-33.slice/user@33.service/app.slice/nginx.service".into());
        assert_eq!(judge.judge(&elsewhere), Verdict::Deny(Refusal::NoRule));
        assert_eq!(judge.judge(&caller(34)), Verdict::Deny(Refusal::NoRule));
    }

    #[test]
    fn a_caller_may_match_several_rules_in_the_order_they_are_written() {
        let judge = Judge::new(vec![
            rule("z", &[Selector::Gid(33)]),
            rule("other", &[Selector::Uid(1)]),
            rule("a", &[Selector::Unit("nginx.service".into())]),
            rule("m", &[Selector::Cgroup("/system.slice".into())]),
        ]);
        assert_eq!(names(judge.judge(&caller(33))), ["z", "a", "m"]);
    }

    #[test]
    fn a_unit_that_is_started_has_what_a_rule_gives_to_all_of_it_and_no_more() {
        let unit = Selector::Unit("nginx.service".into());
        let judge = Judge::new(vec![
            rule("unit", std::slice::from_ref(&unit)),
            rule("cgroup", &[Selector::Cgroup("/system.slice".into()), unit.clone()]),
            rule("user", &[unit.clone(), Selector::Uid(33)]),
            rule("root", &[Selector::Uid(0)]),
            rule("manager", &[unit, Selector::Uid(0), Selector::Exe("/usr/lib/systemd/systemd".into())]),
            rule("other", &[Selector::Unit("other.service".into())]),
            rule("nobody", &[]),
        ]);
        let mut manager = caller(0);
        manager.exe = Some(Executable {
            device: 1,
            inode: 2,
            shown_path: "/usr/lib/systemd/systemd".into(),
            is_that_file: true,
            sha256: None,
        });
        let judged = |name: &str| judge.judge_unit(&manager, &name.parse().unwrap()).map(|rule| rule.name.to_string());
        assert_eq!(judged("unit"), Ok("unit".to_owned()));
        assert_eq!(judged("cgroup"), Ok("cgroup".to_owned()));
        // They would match the service manager itself, or whoever the unit runs as: neither is known to be the unit.
        for name in ["user", "manager"] {
            assert_eq!(judged(name), Err(Refusal::NotForUnit), "{name}");
        }
        for name in ["root", "other", "nobody", "absent"] {
            assert_eq!(judged(name), Err(Refusal::NotThisOne), "{name}");
        }
    }

    #[test]
    fn a_cgroup_selector_respects_path_boundaries() {
        let judge = Judge::new(vec![rule("x", &[Selector::Cgroup("/system.slice/nginx.serv".into())])]);
        assert_eq!(names(judge.judge(&caller(33))), [""; 0]);
    }

    #[test]
    fn without_a_pidfd_only_uid_and_gid_match() {
        let judge = Judge::new(vec![
            rule("by-uid", &[Selector::Uid(33)]),
            rule("by-unit", &[Selector::Uid(33), Selector::Unit("nginx.service".into())]),
            rule("by-exe", &[Selector::Uid(33), Selector::Exe("/usr/sbin/nginx".into())]),
        ]);
        let mut unpinned = caller(33);
        unpinned.pinning = Pinning::CredentialsOnly;
        assert_eq!(names(judge.judge(&unpinned)), ["by-uid"]);
    }

    #[test]
    fn an_executable_shown_under_a_name_that_is_another_file_does_not_match() {
        let judge = Judge::new(vec![rule("web", &[Selector::Uid(33), Selector::Exe("/usr/sbin/nginx".into())])]);
        let mut disguised = caller(33);
        disguised.exe.as_mut().unwrap().is_that_file = false;
        assert_eq!(judge.judge(&disguised), Verdict::Deny(Refusal::NoRule));
    }

    #[test]
    fn a_caller_the_kernel_cannot_name_has_nothing() {
        let judge = Judge::new(vec![rule("root", &[Selector::Uid(0)]), rule("nobody", &[Selector::Uid(65534)])]);
        let mut outer = caller(0);
        outer.pid = 0;
        assert_eq!(judge.judge(&outer), Verdict::Deny(Refusal::UnknownCaller));
        assert_eq!(judge.judge(&caller(65534)), Verdict::Deny(Refusal::UnknownCaller));
        assert!(judge.judge_for(&outer, &"root".parse().unwrap()).is_err());
    }

    #[test]
    fn a_rule_without_selectors_matches_nobody() {
        let judge = Judge::new(vec![rule("all", &[])]);
        assert_eq!(judge.judge(&caller(33)), Verdict::Deny(Refusal::NoRule));
        assert!(judge.judge_for(&caller(33), &"all".parse().unwrap()).is_err());
    }

    #[test]
    fn a_digest_is_awaited_only_for_a_caller_who_lacks_nothing_else() {
        let (digest, unit) = (Selector::Sha256("aa".into()), Selector::Unit("nginx.service".into()));
        let judge = Judge::new(vec![
            rule("by-uid", &[Selector::Uid(33), digest.clone()]),
            rule("by-unit", &[digest, unit, Selector::Uid(34), Selector::Exe("/usr/sbin/nginx".into())]),
            rule("plain", &[Selector::Uid(35)]),
        ]);
        assert!(judge.awaits_digest(&caller(33)) && judge.awaits_digest(&caller(34)));
        assert!(!judge.awaits_digest(&caller(35)) && !judge.awaits_digest(&caller(1234)));
        let mut elsewhere = caller(34);
        elsewhere.cgroup = Some("/system.slice/other.service".into());
        assert!(!judge.awaits_digest(&elsewhere));
        let mut unpinned = caller(33);
        unpinned.pinning = Pinning::CredentialsOnly;
        assert!(judge.awaits_digest(&unpinned), "the uid holds all the same");
        assert_eq!(judge.judge(&unpinned), Verdict::Deny(Refusal::NoRule));
    }

    fn any_selector() -> impl Strategy<Value = Selector> {
        prop_oneof![
            (0..3u32).prop_map(Selector::Uid),
            (0..3u32).prop_map(Selector::Gid),
            (49..52u32).prop_map(Selector::SupplementaryGroup),
            prop_oneof![Just("/usr/sbin/nginx"), Just("/bin/x")].prop_map(|p| Selector::Exe(p.into())),
            prop_oneof![Just("nginx.service"), Just("x.service")].prop_map(|u| Selector::Unit(u.into())),
            prop_oneof![Just("/system.slice"), Just("/x")].prop_map(|c| Selector::Cgroup(c.into())),
        ]
    }

    proptest! {
        #[test]
        fn the_index_finds_just_what_a_full_scan_finds(
            rules in prop::collection::vec(prop::collection::vec(any_selector(), 1..4), 0..12), uid in 0..3u32, pinned: bool,
        ) {
            let rules: Vec<Rule> = rules.iter().enumerate().map(|(n, s)| rule(&format!("r{n}"), s)).collect();
            let mut caller = caller(uid);
            if !pinned { caller.pinning = Pinning::CredentialsOnly; }
            let scan: Vec<String> = rules.iter().filter(|r| r.matches(&caller)).map(|r| r.name.to_string()).collect();
            prop_assert_eq!(names(Judge::new(rules).judge(&caller)), scan);
        }
    }
}
