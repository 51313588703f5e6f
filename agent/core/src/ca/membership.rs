//! Who signs the intermediates of this host, and which of them it may use, where it is part of a mesh.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::life::{Authority, Intermediate};

/// Who signs this host's intermediates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Its own roots: a host without a mesh, or an authority of one.
    #[default]
    Own,
    /// An authority of the mesh. Roots from before are trusted by this host alone, until nothing here needs them.
    Member,
}

/// How a host stands to the mesh, as far as its issuers are concerned. Without a mesh: the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Who signs.
    pub role: Role,
    /// Intermediates that sign no more, since the mesh does not trust their root, or has revoked them. Made anew from every
    /// view: what the mesh takes back is good again.
    pub distrusted: BTreeSet<String>,
    /// Intermediates to be replaced though they are good: a newer root signs, or the host's limits are others now.
    pub outdated: BTreeSet<String>,
}

impl Authority {
    /// True if that intermediate must not sign, whatever its dates.
    pub fn is_set_aside(&self, intermediate: &Intermediate) -> bool {
        let own_before = self.membership.role == Role::Member && self.is_root(&intermediate.root);
        own_before || self.membership.distrusted.contains(&intermediate.fingerprint)
    }

    /// True if what that intermediate of ours signed counts no more.
    pub fn is_revoked(&self, issuer: &str) -> bool {
        self.intermediates.iter().any(|known| known.revoked && known.fingerprint == issuer)
    }

    /// True if leaves under that issuer are to be replaced: it is set aside, or gone. Only where another one signs.
    pub fn is_superseded(&self, issuer: &str) -> bool {
        match self.intermediates.iter().find(|known| known.fingerprint == issuer) {
            Some(known) => known.revoked || self.is_set_aside(known),
            None => false,
        }
    }

    /// Roots of this host from before it joined.
    pub fn former_roots(&self) -> Vec<String> {
        match self.membership.role {
            Role::Own => vec![],
            Role::Member => self.roots.iter().map(|root| root.fingerprint.clone()).collect(),
        }
    }

    /// The intermediate of that fingerprint, if another than this host has signed it.
    pub fn foreign_intermediate(&self, fingerprint: &str) -> Option<&Intermediate> {
        self.intermediates.iter().find(|known| known.fingerprint == fingerprint && !self.is_root(&known.root))
    }

    /// Roots of others that signed intermediates of this host.
    pub fn foreign_roots(&self) -> Vec<String> {
        let foreign = self.intermediates.iter().filter(|intermediate| !self.is_root(&intermediate.root));
        foreign.map(|intermediate| intermediate.root.clone()).collect()
    }

    /// Forgets these roots and what they signed: they are trusted nowhere any more.
    pub fn give_up(&mut self, roots: &[String]) {
        self.roots.retain(|root| !roots.contains(&root.fingerprint));
        self.intermediates.retain(|intermediate| !roots.contains(&intermediate.root));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::life::{Root, Settings, Step, issuing_intermediate, signing_root, steps};
    use super::*;
    use crate::moment::Moment;
    use crate::renewal::Validity;

    const DAY: Duration = Duration::from_secs(86_400);
    const START: Moment = Moment::from_secs(1_767_225_600);

    fn settings() -> Settings {
        Settings { root_ttl: 365 * DAY, root_overlap: 30 * DAY, intermediate_ttl: 60 * DAY, crl_ttl: 30 * DAY }
    }

    fn intermediate(name: &str, root: &str, from: Moment) -> Intermediate {
        Intermediate {
            fingerprint: name.to_owned(),
            root: root.to_owned(),
            validity: Validity { not_before: from, not_after: from.after(60 * DAY) },
            crl_next_update: Some(from.after(3650 * DAY)),
            revoked: false,
            retired: false,
        }
    }

    fn root(name: &str, from: Moment, signs_from: Moment) -> Root {
        Root {
            fingerprint: name.to_owned(),
            validity: Validity { not_before: from, not_after: from.after(365 * DAY) },
            signs_from,
            crl_next_update: Some(from.after(3650 * DAY)),
            retired: false,
        }
    }

    /// One that was on its own and has joined.
    fn member() -> Authority {
        let mut authority = Authority {
            roots: vec![root("own", START.before(DAY), START.before(DAY))],
            // Its own is the younger one: the authority's clock is behind.
            intermediates: vec![intermediate("own-i", "own", START), intermediate("i1", "r1", START.before(DAY))],
            ..Authority::default()
        };
        authority.membership.role = Role::Member;
        authority
    }

    fn issuing(authority: &Authority, now: Moment) -> Option<&str> {
        issuing_intermediate(authority, now).map(|known| known.fingerprint.as_str())
    }

    fn without_lists(authority: &Authority, now: Moment) -> Vec<Step> {
        steps(authority, &settings(), now).into_iter().filter(|step| !matches!(step, Step::SignCrl { .. })).collect()
    }

    #[test]
    fn a_host_that_joined_signs_under_the_authority_alone_and_makes_no_root_any_more() {
        let authority = member();
        assert_eq!(issuing(&authority, START), Some("i1"));
        assert!(authority.is_superseded("own-i") && !authority.is_superseded("i1"));
        assert_eq!(without_lists(&authority, START), []);
        assert_eq!(authority.former_roots(), ["own"]);
        // Not even when its old root is about to end.
        let late = START.after(350 * DAY);
        assert!(without_lists(&authority, late).iter().all(|step| !matches!(step, Step::MakeRoot { .. })));
    }

    #[test]
    fn an_intermediate_is_asked_for_at_half_life_and_signs_until_its_end() {
        let authority = member();
        assert_eq!(without_lists(&authority, START.after(28 * DAY)), []);
        assert_eq!(without_lists(&authority, START.after(30 * DAY)), [Step::RequestIntermediate]);
        // Cut off: it goes on.
        assert_eq!(issuing(&authority, START.after(58 * DAY)), Some("i1"));
        assert_eq!(issuing(&authority, START.after(60 * DAY)), None);
        let after = without_lists(&authority, START.after(200 * DAY));
        assert_eq!(after.last(), Some(&Step::RequestIntermediate), "one that was off for long asks: {after:?}");
    }

    #[test]
    fn what_the_mesh_distrusts_signs_no_more_and_what_it_takes_back_signs_again() {
        let mut authority = member();
        authority.membership.distrusted.insert("i1".to_owned());
        assert_eq!(issuing(&authority, START), None);
        assert_eq!(without_lists(&authority, START), [Step::RequestIntermediate]);
        authority.intermediates.push(intermediate("i2", "r2", START));
        assert_eq!(issuing(&authority, START), Some("i2"));
        assert!(authority.is_superseded("i1"));
        authority.membership.distrusted.clear();
        authority.membership.distrusted.insert("i2".to_owned());
        assert_eq!(issuing(&authority, START), Some("i1"));
    }

    #[test]
    fn one_that_is_outdated_signs_until_there_is_another() {
        let mut authority = member();
        authority.membership.outdated.insert("i1".to_owned());
        assert_eq!(issuing(&authority, START), Some("i1"));
        assert_eq!(without_lists(&authority, START), [Step::RequestIntermediate]);
        // By a clock that is behind.
        authority.intermediates.push(intermediate("i2", "r1", START.before(2 * DAY)));
        assert_eq!(issuing(&authority, START), Some("i2"));
        assert_eq!(without_lists(&authority, START), []);
    }

    #[test]
    fn a_new_authority_signs_for_itself_once_everybody_had_time_to_learn_of_its_root() {
        let mut authority = member();
        authority.give_up(&["own".to_owned()]);
        authority.membership.role = Role::Own;
        let expected = Step::MakeRoot { signs_from: START.after(30 * DAY) };
        assert_eq!(without_lists(&authority, START), [expected]);
        authority.roots.push(root("new", START, START.after(30 * DAY)));
        assert_eq!(without_lists(&authority, START), [], "the other authority's intermediate does until then");
        assert_eq!(issuing(&authority, START.after(29 * DAY)), Some("i1"));
        let at = START.after(30 * DAY);
        assert_eq!(without_lists(&authority, at), [Step::MakeIntermediate { root: "new".to_owned() }]);
        // The other's clock is ahead: its intermediate is the younger one, and yet the own root goes before.
        authority.intermediates.push(intermediate("i3", "r1", at.before(DAY / 2)));
        authority.intermediates.push(intermediate("new-i", "new", at.before(DAY)));
        assert_eq!(issuing(&authority, at), Some("new-i"));
        assert_eq!(signing_root(&authority, at).unwrap().fingerprint, "new");
    }

    #[test]
    fn a_new_authority_whose_promoter_is_put_out_signs_for_itself_at_once() {
        let mut authority = member();
        authority.give_up(&["own".to_owned()]);
        authority.membership.role = Role::Own;
        authority.roots.push(root("new", START, START.after(30 * DAY)));
        authority.membership.distrusted.insert("i1".to_owned());
        assert_eq!(without_lists(&authority, START), [Step::MakeIntermediate { root: "new".to_owned() }]);
    }

    proptest::proptest! {
        /// Whatever the mesh and the clock say: a member never signs under its own root, and never stops asking while it has
        /// nothing to sign with.
        #[test]
        fn a_member_signs_under_others_or_asks(
            distrusted in proptest::collection::btree_set("i[0-4]", 0..5),
            outdated in proptest::collection::btree_set("i[0-4]", 0..5),
            born in proptest::collection::vec(0u32..200, 5),
            now in 0u32..300,
        ) {
            let mut authority = member();
            authority.intermediates.truncate(1);
            for (number, day) in born.iter().enumerate() {
                authority.intermediates.push(intermediate(&format!("i{number}"), "r1", START.after(DAY * *day)));
            }
            authority.membership.distrusted = distrusted.clone();
            authority.membership.outdated = outdated;
            let now = START.after(DAY * now);
            let signs = issuing(&authority, now);
            let asks = steps(&authority, &settings(), now).contains(&Step::RequestIntermediate);
            match signs {
                Some(name) => proptest::prop_assert!(name != "own-i" && !distrusted.contains(name)),
                None => proptest::prop_assert!(asks),
            }
        }
    }
}
