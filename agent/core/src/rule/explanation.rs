//! Why a caller has what it has: which rules matched, and which came nearest. For administrators.

use serde::{Deserialize, Serialize};

use super::{Judge, Selector};
use crate::caller::Caller;

/// The judge's reasoning about one caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Explanation {
    /// The caller as attested.
    pub caller: Caller,
    /// Its system unit.
    pub unit: Option<String>,
    /// Rules that match, in order; the first is the default.
    pub matched: Vec<RuleExplanation>,
    /// Rules that failed, nearest first; at most [`Explanation::NEAREST`].
    pub nearest: Vec<RuleExplanation>,
    /// A remark on the caller as a whole, e.g. that it is unknown to the kernel.
    pub remark: Option<String>,
}

/// One rule, selector by selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RuleExplanation {
    /// Identity name.
    pub identity: String,
    /// Its selectors.
    pub selectors: Vec<SelectorExplanation>,
}

/// One selector against the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SelectorExplanation {
    /// As the rule has it.
    pub wanted: String,
    /// As the caller has it.
    pub found: String,
    /// Whether it holds.
    pub holds: bool,
}

impl RuleExplanation {
    fn misses(&self) -> usize {
        self.selectors.iter().filter(|selector| !selector.holds).count()
    }
}

impl Explanation {
    /// How many rules that failed are named.
    pub const NEAREST: usize = 5;

    /// Holds every rule against the caller.
    pub fn new(judge: &Judge, caller: &Caller) -> Self {
        let explained = judge.rules().iter().map(|rule| RuleExplanation {
            identity: rule.name.to_string(),
            selectors: rule.selectors.iter().map(|selector| explain(selector, caller)).collect(),
        });
        let (matched, mut nearest): (Vec<_>, Vec<_>) = explained.partition(|rule| rule.misses() == 0);
        // Fewest misses first; among equals the rule with more that does hold.
        nearest.sort_by_key(|rule| (rule.misses(), std::cmp::Reverse(rule.selectors.len())));
        nearest.truncate(Self::NEAREST);
        let remark = if caller.is_unknown() {
            Some("the kernel does not say who this process is: it runs in another pid or user namespace".to_owned())
        } else if caller.pinning == crate::caller::Pinning::CredentialsOnly {
            Some("this kernel has no SO_PEERPIDFD (Linux 6.5): only uid and gid selectors can match".to_owned())
        } else {
            None
        };
        Self { unit: caller.unit().map(str::to_owned), caller: caller.clone(), matched, nearest, remark }
    }
}

fn explain(selector: &Selector, caller: &Caller) -> SelectorExplanation {
    SelectorExplanation { wanted: selector.to_string(), found: selector.found_in(caller), holds: selector.holds(caller) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Rule;

    #[test]
    fn the_nearest_miss_comes_first_and_says_what_was_found() {
        let rule = |name: &str, selectors: &[Selector]| Rule {
            name: name.parse().unwrap(),
            spiffe_id: "spiffe://example.org/x".parse().unwrap(),
            hint: None,
            selectors: selectors.to_vec(),
        };
        let judge = Judge::new(vec![
            rule("far", &[Selector::Uid(1), Selector::Gid(1)]),
            rule("near", &[Selector::Uid(1000), Selector::Gid(7)]),
            rule("mine", &[Selector::Uid(1000)]),
        ]);
        let mut caller = Caller::by_credentials(9, 1000, 1000, vec![]);
        caller.pinning = crate::caller::Pinning::Pidfd;
        let why = Explanation::new(&judge, &caller);
        assert_eq!(why.matched[0].identity, "mine");
        assert_eq!(why.nearest[0].identity, "near");
        assert_eq!(
            why.nearest[0].selectors[1],
            SelectorExplanation { wanted: "gid = 7".into(), found: "1000".into(), holds: false }
        );
    }
}
