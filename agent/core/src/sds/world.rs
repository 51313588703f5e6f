//! State of the world: each request names all that is wanted, each response has all of it that there is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Excess, Taken, check};

/// What a client says.
#[derive(Debug, Clone, Default)]
pub struct WorldRequest {
    /// All that it wants.
    pub names: Vec<String>,
    /// The nonce of the response that it answers; empty in its first.
    pub nonce: String,
    /// It refused that response, because of this.
    pub error: Option<String>,
}

/// One stream.
#[derive(Debug, Default)]
pub struct World {
    names: BTreeSet<String>,
    nonce: Option<String>,
    /// The version of each name that it has of us, or refused.
    sent: BTreeMap<String, String>,
}

impl World {
    /// What is wanted now.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Takes a request. One that answers an older response than the last was overtaken, and its successor is on the way.
    pub fn take(&mut self, request: WorldRequest) -> Result<Taken, Excess> {
        check(request.names.len(), request.names.iter())?;
        if self.nonce.as_ref().is_some_and(|nonce| *nonce != request.nonce) {
            return Ok(Taken::default());
        }
        let names: BTreeSet<String> = request.names.into_iter().collect();
        let added = !names.is_subset(&self.names);
        if added {
            // Also what it had before: it may have dropped it.
            self.sent.clear();
        }
        self.sent.retain(|name, _| names.contains(name));
        self.names = names;
        Ok(Taken { look: added, rejected: request.error })
    }

    /// True if what there is, the version of a name if it stands for anything, is to be sent. That a name is not wanted any more,
    /// or stands for nothing now, is no reason to send the others.
    pub fn is_due<'v>(&self, version: impl Fn(&str) -> Option<&'v str>) -> bool {
        let is_new = |name: &String| version(name).is_some_and(|version| self.sent.get(name).is_none_or(|sent| sent != version));
        self.names.iter().any(is_new)
    }

    /// That is sent.
    pub fn sent<'v>(&mut self, version: impl Fn(&str) -> Option<&'v str>, nonce: String) {
        let known = self.names.iter().filter_map(|name| Some((name.clone(), version(name)?.to_owned())));
        (self.sent, self.nonce) = (known.collect(), Some(nonce));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(names: &[&str], nonce: &str, error: Option<&str>) -> WorldRequest {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        WorldRequest { names, nonce: nonce.to_owned(), error: error.map(str::to_owned) }
    }

    /// Every name in that version.
    fn all(version: &'static str) -> impl Fn(&str) -> Option<&'static str> {
        move |_| Some(version)
    }

    const LOOK: Taken = Taken { look: true, rejected: None };

    #[test]
    fn what_is_asked_for_is_sent_once_and_again_when_it_changes() {
        let mut world = World::default();
        assert!(!world.is_due(all("1")), "nobody asked");
        assert_eq!(world.take(request(&["a"], "", None)), Ok(LOOK));
        assert!(world.is_due(all("1")));
        world.sent(all("1"), "n1".into());
        assert_eq!(world.take(request(&["a"], "n1", None)), Ok(Taken::default()));
        assert!(!world.is_due(all("1")) && world.is_due(all("2")));
        assert_eq!(world.take(request(&["a", "b"], "n1", None)), Ok(LOOK));
        assert!(world.is_due(all("1")), "there is another name");
    }

    #[test]
    fn a_request_that_was_overtaken_changes_nothing() {
        let mut world = World::default();
        world.take(request(&["a"], "", None)).unwrap();
        world.sent(all("1"), "n1".into());
        world.sent(all("2"), "n2".into());
        for nonce in ["n1", "", "made up"] {
            assert_eq!(world.take(request(&["b"], nonce, Some("no"))), Ok(Taken::default()));
        }
        assert_eq!(world.names().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_a_client_refused_is_not_sent_again_but_the_next_version_is() {
        let mut world = World::default();
        world.take(request(&["a"], "", None)).unwrap();
        world.sent(all("1"), "n1".into());
        let taken = world.take(request(&["a"], "n1", Some("bad key"))).unwrap();
        assert_eq!(taken, Taken { look: false, rejected: Some("bad key".into()) });
        assert!(!world.is_due(all("1")) && world.is_due(all("2")));
    }

    #[test]
    fn who_asks_for_nothing_is_sent_nothing_and_all_again_once_it_asks_anew() {
        let mut world = World::default();
        world.take(request(&["a"], "", None)).unwrap();
        world.sent(all("1"), "n1".into());
        world.take(request(&[], "n1", None)).unwrap();
        assert!(!world.is_due(all("2")));
        assert_eq!(world.take(request(&["a"], "n1", None)), Ok(LOOK));
        assert!(world.is_due(all("1")));
    }

    #[test]
    fn who_wants_a_name_no_more_is_not_sent_the_others_again_until_they_change() {
        let mut world = World::default();
        world.take(request(&["a", "b"], "", None)).unwrap();
        world.sent(all("1"), "n1".into());
        assert_eq!(world.take(request(&["a"], "n1", None)), Ok(Taken::default()));
        assert!(!world.is_due(all("1")), "it has this one");
        assert!(world.is_due(all("2")));
        // Neither are they when one of them is gone.
        world.take(request(&["a", "b"], "n1", None)).unwrap();
        world.sent(all("2"), "n2".into());
        let without_b = |name: &str| (name == "a").then_some("2");
        assert!(!world.is_due(without_b) && world.is_due(|name| without_b(name).or(Some("3"))));
    }

    #[test]
    fn names_are_bounded() {
        let mut world = World::default();
        let many: Vec<String> = (0..=super::super::MAX_NAMES).map(|name| name.to_string()).collect();
        assert_eq!(world.take(WorldRequest { names: many, ..WorldRequest::default() }), Err(Excess));
        assert_eq!(world.take(request(&[&"x".repeat(3000)], "", None)), Err(Excess));
        let long: Vec<String> = (0..20).map(|name| format!("{name:02000}")).collect();
        assert_eq!(world.take(WorldRequest { names: long, ..WorldRequest::default() }), Err(Excess), "all together");
    }
}
