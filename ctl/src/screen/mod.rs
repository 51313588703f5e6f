//! What goes to standard output: tables and fields for people, JSON for programs.

mod consent;
mod escape;
mod table;

use std::io::{IsTerminal, Write};

pub(crate) use consent::consents;
pub(crate) use escape::{plain, plain_block};
use serde::Serialize;
pub(crate) use table::{Paint, Table};

use crate::failure::{Exit, Failure, Outcome};

/// Standard output, and how it is to be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) json: bool,
}

impl Screen {
    /// JSON if it was asked for, else what `people` makes of it.
    pub(crate) fn show<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) -> Outcome {
        match self.json {
            true => self.json(value),
            false => self.text(&people(value)),
        }
    }

    /// Pretty JSON with a newline.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> Outcome {
        let text = serde_json::to_string_pretty(value).map_err(|why| Failure::new(Exit::Internal, why))?;
        self.bytes(format!("{}\n", escape::json(&text)).as_bytes())
    }

    /// One line of JSON, for streams.
    pub(crate) fn json_line<T: Serialize>(self, value: &T) -> Outcome {
        let text = serde_json::to_string(value).map_err(|why| Failure::new(Exit::Internal, why))?;
        self.bytes(format!("{}\n", escape::json(&text)).as_bytes())
    }

    /// Text that is already escaped; colours go away unless this is a terminal.
    pub(crate) fn text(self, text: &str) -> Outcome {
        let mut out = anstream::stdout().lock();
        let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        write!(out, "{text}{newline}").and_then(|()| out.flush()).map_err(|error| Failure::writing_out(&error))?;
        Ok(0)
    }

    /// Bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Outcome {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::writing_out(&error))?;
        Ok(0)
    }

    /// A remark beside the result, on standard error.
    pub(crate) fn note(self, text: impl std::fmt::Display) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// True if a person looks at standard output.
    pub(crate) fn is_terminal(self) -> bool {
        std::io::stdout().is_terminal()
    }
}

/// What a failure looks like: two lines, or JSON.
pub(crate) fn show_failure(failure: &Failure, json: bool) {
    if failure.silent {
        return;
    }
    let Failure { what, advice, exit, code, .. } = failure;
    if json {
        let value = serde_json::json!({ "error": what, "try": advice, "code": code, "exit": *exit as u8 });
        eprintln!("{}", escape::json(&value.to_string()));
        return;
    }
    let mut out = anstream::stderr().lock();
    let _ = writeln!(out, "{RED}agentctl:{RESET} {}", plain_block(what));
    if let Some(advice) = advice {
        let _ = writeln!(out, "{BOLD}try:{RESET} {}", plain_block(advice));
    }
}

/// SGR sequences; `anstream` drops them where there is no terminal or `NO_COLOR` is set.
pub(crate) const RED: &str = "\x1b[1;31m";
pub(crate) const GREEN: &str = "\x1b[32m";
pub(crate) const YELLOW: &str = "\x1b[33m";
pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const RESET: &str = "\x1b[0m";

/// `name  value`, the values in one column. Values are escaped.
pub(crate) fn fields<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.into_iter().map(|(name, value)| format!("{name:<width$}  {}\n", plain(&value)).trim_start().to_owned()).collect()
}

/// A moment as people read it: to the second, UTC.
pub(crate) fn date(at: reverie_core::moment::Moment) -> String {
    at.truncated_to_secs().to_string()
}

/// The same, `-` if there is none.
pub(crate) fn date_or_dash(at: Option<reverie_core::moment::Moment>) -> String {
    at.map_or_else(|| "-".to_owned(), date)
}

/// `1 event`, `2 events`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
