//! State of the world: each request names all that is wanted, each response has all of it that there is.

use std::collections::BTreeSet;

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
    sent: Option<String>,
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
            self.sent = None;
        }
        self.names = names;
        Ok(Taken { look: added, rejected: request.error })
    }

    /// True if a state of that version is to be sent.
    pub fn is_due(&self, version: &str) -> bool {
        !self.names.is_empty() && self.sent.as_deref() != Some(version)
    }

    /// A state of that version is sent.
    pub fn sent(&mut self, version: String, nonce: String) {
        (self.sent, self.nonce) = (Some(version), Some(nonce));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(names: &[&str], nonce: &str, error: Option<&str>) -> WorldRequest {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        WorldRequest { names, nonce: nonce.to_owned(), error: error.map(str::to_owned) }
    }

    const LOOK: Taken = Taken { look: true, rejected: None };

    #[test]
    fn what_is_asked_for_is_sent_once_and_again_when_it_changes() {
        let mut world = World::default();
        assert!(!world.is_due("1"), "nobody asked");
        assert_eq!(world.take(request(&["a"], "", None)), Ok(LOOK));
        assert!(world.is_due("1"));
        world.sent("1".into(), "n1".into());
        assert_eq!(world.take(request(&["a"], "n1", None)), Ok(Taken::default()));
        assert!(!world.is_due("1") && world.is_due("2"));
        assert_eq!(world.take(request(&["a", "b"], "n1", None)), Ok(LOOK));
        assert!(world.is_due("1"), "there is another name");
    }

    #[test]
    fn a_request_that_was_overtaken_changes_nothing() {
        let mut world = World::default();
        world.take(request(&["a"], "", None)).unwrap();
        world.sent("1".into(), "n1".into());
        world.sent("2".into(), "n2".into());
        for nonce in ["n1", "", "made up"] {
            assert_eq!(world.take(request(&["b"], nonce, Some("no"))), Ok(Taken::default()));
        }
        assert_eq!(world.names().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_a_client_refused_is_not_sent_again_but_the_next_version_is() {
        let mut world = World::default();
        world.take(request(&["a"], "", None)).unwrap();
        world.sent("1".into(), "n1".into());
        let taken = world.take(request(&["a"], "n1", Some("bad key"))).unwrap();
        assert_eq!(taken, Taken { look: false, rejected: Some("bad key".into()) });
        assert!(!world.is_due("1") && world.is_due("2"));
    }

    #[test]
    fn who_asks_for_nothing_is_sent_nothing_and_all_again_once_it_asks_anew() {
        let mut world = World::default();
        world.take(request(&["a"], "", None)).unwrap();
        world.sent("1".into(), "n1".into());
        world.take(request(&[], "n1", None)).unwrap();
        assert!(!world.is_due("2"));
        assert_eq!(world.take(request(&["a"], "n1", None)), Ok(LOOK));
        assert!(world.is_due("1"));
    }

    #[test]
    fn names_are_bounded() {
        let mut world = World::default();
        let many: Vec<String> = (0..=super::super::MAX_NAMES).map(|name| name.to_string()).collect();
        assert_eq!(world.take(WorldRequest { names: many, ..WorldRequest::default() }), Err(Excess));
        assert_eq!(world.take(request(&[&"x".repeat(3000)], "", None)), Err(Excess));
    }
}
