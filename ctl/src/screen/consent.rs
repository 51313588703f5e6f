//! A question before something that cannot be taken back.

use std::io::{BufRead, IsTerminal, Read, Write};

use crate::failure::{Exit, Failure};

/// True if a person at the terminal says yes, or if there is none to ask.
pub(crate) fn consents(question: &str) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(true);
    }
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{question} [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    match input.lock().take(64).read_line(&mut answer) {
        Ok(_) => Ok(is_yes(&answer)),
        Err(error) => Err(Failure::new(Exit::Io, format_args!("cannot read from the terminal: {error}"))),
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes(" YES \r\n"));
        assert!(!is_yes("\n") && !is_yes("n") && !is_yes("yeah") && !is_yes(""));
    }
}
