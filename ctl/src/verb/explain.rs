//! `agentctl explain`.

use reverie_core::api::Operation;
use reverie_core::api::admin::ExplainRequest;
use reverie_core::rule::{Explanation, RuleExplanation};

use super::whoami::facts;
use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::{GREEN, RED, RESET, fields, plain};

/// Show which identity rules match a process, and which come nearest
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["pid", "uid"]))]
pub(crate) struct Args {
    /// A running process
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..), value_name = "PID")]
    pid: Option<i32>,
    /// A made-up process of this user, in no unit
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// Its primary group [default: equal to the uid]
    #[arg(long, requires = "uid", value_name = "GID")]
    gid: Option<u32>,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Self { pid, uid, gid } = self;
        let call = Call::of(Operation::Explain).body(&ExplainRequest { pid, uid, gid })?;
        let explanation: Explanation = session.client.call(call).await?;
        session.screen.show(&explanation, |explanation| {
            let mut text = match pid {
                Some(_) => fields(facts(&explanation.caller, explanation.unit.as_deref())),
                None => format!(
                    "a process of uid {} and gid {} as it would be, in no unit\n",
                    explanation.caller.uid, explanation.caller.gid
                ),
            };
            if let Some(remark) = &explanation.remark {
                text += &format!("\n{}\n", plain(remark));
            }
            for (index, rule) in explanation.matched.iter().enumerate() {
                let default = if index == 0 { ", its default" } else { "" };
                text += &format!("\n{GREEN}may have{RESET} {}{default}\n{}", plain(&rule.identity), selectors(rule));
            }
            if explanation.matched.is_empty() {
                text += "\nNo rule matches.\n";
            }
            for rule in &explanation.nearest {
                text += &format!("\n{RED}may not have{RESET} {}\n{}", plain(&rule.identity), selectors(rule));
            }
            text
        })
    }
}

fn selectors(rule: &RuleExplanation) -> String {
    let one = |selector: &reverie_core::rule::SelectorExplanation| match selector.holds {
        true => format!("  yes  {}\n", plain(&selector.wanted)),
        false => format!("  no   {}: found {}\n", plain(&selector.wanted), plain(&selector.found)),
    };
    rule.selectors.iter().map(one).collect()
}
