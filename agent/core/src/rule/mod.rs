//! Who may have which identity: selectors, ANDed in a rule; the judge; the explanation.

mod explanation;
mod judge;
mod selector;

pub use explanation::{Explanation, RuleExplanation, SelectorExplanation};
pub use judge::{Judge, Refusal, Rule, Verdict};
pub use selector::Selector;
