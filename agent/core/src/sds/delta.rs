//! Incremental: requests add and remove names, responses have what changed.

use std::collections::BTreeMap;

use super::{Excess, Taken, check};

/// What a client says.
#[derive(Debug, Clone, Default)]
pub struct DeltaRequest {
    /// Wanted from now on, and sent in any case.
    pub subscribe: Vec<String>,
    /// Not wanted any more.
    pub unsubscribe: Vec<String>,
    /// What it has from another stream, by name: versions. In its first request.
    pub initial: BTreeMap<String, String>,
    /// The nonce of the response that it answers.
    pub nonce: String,
    /// It refused that response, because of this.
    pub error: Option<String>,
}

/// What a client has of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Has {
    /// It waits.
    Nothing,
    /// This version, or it refused it.
    Version(String),
    /// It was told that there is none.
    None,
}

/// What is to be sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Names with another version.
    pub changed: Vec<String>,
    /// Names that stand for nothing, or no more.
    pub removed: Vec<String>,
}

impl Difference {
    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// One stream.
#[derive(Debug, Default)]
pub struct Delta {
    names: BTreeMap<String, Has>,
    nonce: Option<String>,
    begun: bool,
}

impl Delta {
    /// What is wanted now.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Takes a request.
    pub fn take(&mut self, request: DeltaRequest) -> Result<Taken, Excess> {
        check(request.subscribe.len(), request.subscribe.iter())?;
        check(request.initial.len(), request.initial.iter().flat_map(|(name, version)| [name, version]))?;
        for name in &request.unsubscribe {
            self.names.remove(name);
        }
        let look = !request.subscribe.is_empty();
        for name in request.subscribe {
            let has = match request.initial.get(&name) {
                Some(version) if !self.begun => Has::Version(version.clone()),
                _ => Has::Nothing,
            };
            self.names.insert(name, has);
        }
        check(self.names.len(), self.names.keys())?;
        self.begun = true;
        let answers_last = self.nonce.as_ref().is_some_and(|nonce| *nonce == request.nonce);
        Ok(Taken { look, rejected: request.error.filter(|_| answers_last) })
    }

    /// Compares with what there is: the version of a name, if it stands for anything.
    pub fn difference<'v>(&self, version: impl Fn(&str) -> Option<&'v str>) -> Difference {
        let mut difference = Difference::default();
        for (name, has) in &self.names {
            match (version(name), has) {
                (Some(version), Has::Version(known)) if version == known => {}
                (Some(_), _) => difference.changed.push(name.clone()),
                (None, Has::None) => {}
                (None, _) => difference.removed.push(name.clone()),
            }
        }
        difference
    }

    /// That is sent.
    pub fn sent<'v>(&mut self, difference: &Difference, version: impl Fn(&str) -> Option<&'v str>, nonce: String) {
        for name in &difference.changed {
            let has = version(name).map_or(Has::None, |version| Has::Version(version.to_owned()));
            self.names.insert(name.clone(), has);
        }
        for name in &difference.removed {
            self.names.insert(name.clone(), Has::None);
        }
        self.nonce = Some(nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn subscribe(wanted: &[&str]) -> DeltaRequest {
        DeltaRequest { subscribe: names(wanted), ..DeltaRequest::default() }
    }

    fn one(name: &str) -> Option<&'static str> {
        (name == "a").then_some("1")
    }

    fn two(name: &str) -> Option<&'static str> {
        (name == "a").then_some("2")
    }

    #[test]
    fn only_what_changed_is_sent_and_what_is_not_there_is_said_once() {
        let mut delta = Delta::default();
        assert!(delta.take(subscribe(&["a", "b"])).unwrap().look);
        let first = delta.difference(one);
        assert_eq!(first, Difference { changed: names(&["a"]), removed: names(&["b"]) });
        delta.sent(&first, one, "n1".into());
        assert!(delta.difference(one).is_empty());
        assert_eq!(delta.difference(two).changed, ["a"]);
        assert_eq!(delta.difference(|_| None).removed, ["a"]);
        let unsubscribed = DeltaRequest { unsubscribe: names(&["a"]), ..DeltaRequest::default() };
        assert!(!delta.take(unsubscribed).unwrap().look);
        assert!(delta.difference(two).is_empty());
    }

    #[test]
    fn who_comes_back_with_what_it_has_is_sent_the_rest() {
        let mut delta = Delta::default();
        let initial = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "1".to_owned())].into();
        delta.take(DeltaRequest { initial, ..subscribe(&["a", "b"]) }).unwrap();
        assert_eq!(delta.difference(one), Difference { changed: vec![], removed: names(&["b"]) });
        // Asked for anew it is sent, whatever the client is believed to have.
        let initial = [("a".to_owned(), "1".to_owned())].into();
        delta.take(DeltaRequest { initial, ..subscribe(&["a"]) }).unwrap();
        assert_eq!(delta.difference(one).changed, ["a"]);
    }

    #[test]
    fn what_a_client_refused_is_not_sent_again_and_an_old_refusal_counts_for_nothing() {
        let mut delta = Delta::default();
        delta.take(subscribe(&["a"])).unwrap();
        let first = delta.difference(one);
        delta.sent(&first, one, "n1".into());
        let refused = |nonce: &str| DeltaRequest { nonce: nonce.into(), error: Some("no".into()), ..DeltaRequest::default() };
        assert_eq!(delta.take(refused("n0")).unwrap().rejected, None);
        assert_eq!(delta.take(refused("n1")).unwrap().rejected, Some("no".into()));
        assert!(delta.difference(one).is_empty() && !delta.difference(two).is_empty());
    }

    #[test]
    fn names_are_bounded_over_all_requests() {
        let mut delta = Delta::default();
        let many = |from: usize| (from..from + 100).map(|name| name.to_string()).collect();
        delta.take(DeltaRequest { subscribe: many(0), ..DeltaRequest::default() }).unwrap();
        assert_eq!(delta.take(DeltaRequest { subscribe: many(100), ..DeltaRequest::default() }), Err(Excess));
        let long = |from: usize| (from..from + 10).map(|name| format!("{name:02000}")).collect();
        let mut delta = Delta::default();
        delta.take(DeltaRequest { subscribe: long(0), ..DeltaRequest::default() }).unwrap();
        assert_eq!(delta.take(DeltaRequest { subscribe: long(10), ..DeltaRequest::default() }), Err(Excess));
        let long = [("x".to_owned(), "v".repeat(3000))].into();
        assert_eq!(delta.take(DeltaRequest { initial: long, ..DeltaRequest::default() }), Err(Excess));
    }
}
