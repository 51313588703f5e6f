//! What is commonly wrong with an agent and its host, found by small checks over gathered facts.

mod checks;
mod credentials;
mod facts;
mod finding;
mod gather;
mod host;
mod names;
mod view;

pub(crate) use checks::examine;
pub(crate) use facts::Facts;
pub(crate) use finding::{Finding, Level};
pub(crate) use gather::gather;

use crate::screen::{GREEN, RED, RESET, YELLOW, counted, plain};

/// Exit code: 1 if anything failed; a warning or a check that could not be made leaves it 0.
pub(crate) fn exit_code(findings: &[Finding]) -> u8 {
    u8::from(findings.iter().any(|finding| finding.level == Level::Fail))
}

/// For people: each check on a line, with what to try under it.
pub(crate) fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for Finding { check, level, what, advice } in findings {
        let (colour, word) = match level {
            Level::Ok => (GREEN, "ok  "),
            Level::Warn => (YELLOW, "warn"),
            Level::Fail => (RED, "FAIL"),
            Level::Skipped => ("", "-   "),
        };
        text += &format!("{colour}{word}{RESET}  {check:<width$}  {}\n", plain(what));
        if let Some(advice) = advice {
            text += &format!("      {:<width$}  try: {}\n", "", plain(advice));
        }
    }
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (fails, warns) = (count(Level::Fail), count(Level::Warn));
    text += &match (fails, warns) {
        (0, 0) => "\nNothing is wrong.\n".to_owned(),
        _ => format!("\n{fails} failed, {}.\n", counted(warns as u64, "warning", "warnings")),
    };
    text
}

#[cfg(test)]
mod mesh_tests;
#[cfg(test)]
mod tests;
