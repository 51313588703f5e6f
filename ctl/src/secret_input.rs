//! A secret's value: from a file, standard input, or a prompt without echo. Never from an argument.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// The largest value the agent seals.
const MAX_BYTES: usize = 64 << 10;

/// One line: from standard input, or typed without echo. `what` is missing where there is none, and `advice` is what to try.
pub(crate) fn line(question: &str, what: &str, advice: &str) -> Result<Zeroizing<String>, Failure> {
    let bytes = match std::io::stdin().is_terminal() {
        true => prompt(question)?,
        false => read_all(std::io::stdin().lock(), "standard input")?,
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    match text.is_empty() || text.contains(char::is_control) {
        true => Err(Failure::new(Exit::Data, format_args!("{what} is missing")).advise(advice)),
        false => Ok(Zeroizing::new(text.to_owned())),
    }
}

/// Reads the value.
pub(crate) fn read(file: Option<&Path>, trim: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut value = match file {
        Some(path) if path != Path::new("-") => {
            let file = std::fs::File::open(path).map_err(|error| Failure::reading(path, &error))?;
            read_all(file, &path.display().to_string())?
        }
        None if std::io::stdin().is_terminal() => return prompt_twice(),
        _ => read_all(std::io::stdin().lock(), "standard input")?,
    };
    if trim && value.last() == Some(&b'\n') {
        value.pop();
    }
    match value.is_empty() {
        true => {
            Err(Failure::new(Exit::Data, "the secret is empty").advise("give its value on standard input or with --file FILE"))
        }
        false => Ok(value),
    }
}

fn read_all(source: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 2));
    let read = source.take(MAX_BYTES as u64 + 1).read_to_end(&mut value);
    read.map_err(|error| Failure::reading(Path::new(name), &error))?;
    match value.len() > MAX_BYTES {
        true => Err(Failure::new(Exit::Data, format_args!("the secret is larger than {} KiB", MAX_BYTES >> 10))
            .advise("seal a key that encrypts it, and keep the rest in a file")),
        false => Ok(value),
    }
}

fn prompt_twice() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let first = prompt("Secret: ")?;
    let again = prompt("Again:  ")?;
    match (first.is_empty(), *first == *again) {
        (true, _) => Err(Failure::new(Exit::Data, "the secret is empty").advise("type its value, or give it with --file FILE")),
        (false, false) => Err(Failure::new(Exit::Data, "the two did not agree").advise("type it again")),
        (false, true) => Ok(first),
    }
}

/// Echo, line editing and signals off, until dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> nix::Result<Self> {
        let before = tcgetattr(std::io::stdin().as_fd())?;
        let mut quiet = before.clone();
        // Signals too: an interrupt in the middle would leave the terminal without echo.
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(std::io::stdin().as_fd(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.before);
    }
}

fn prompt(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::new(Exit::Io, format_args!("cannot read from the terminal: {error}"));
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    let quiet = Quiet::begin().map_err(|error| broken(&error))?;
    // Unbuffered: a buffered reader would keep a copy.
    let typed = typed_line(|| {
        let mut byte = [0];
        nix::unistd::read(std::io::stdin().as_fd(), &mut byte).map(|count| (count == 1).then_some(byte[0]))
    });
    drop(quiet);
    eprintln!();
    match typed.map_err(|error| broken(&error))? {
        Some(line) => Ok(line),
        None => Err(Failure::new(Exit::TempFail, "interrupted; nothing was done")),
    }
}

/// One line, edited by backspace and ^U; none on ^C or when the terminal is gone before anything was typed.
fn typed_line<E>(mut next: impl FnMut() -> Result<Option<u8>, E>) -> Result<Option<Zeroizing<Vec<u8>>>, E> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    loop {
        match next()? {
            Some(b'\n' | b'\r') => return Ok(Some(line)),
            None | Some(0x04) => return Ok((!line.is_empty()).then_some(line)),
            Some(0x03) => return Ok(None),
            Some(0x15) => line.clear(),
            Some(0x08 | 0x7f) => {
                // A whole character, not one byte of it.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            Some(byte) if line.len() < MAX_BYTES => line.push(byte),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Option<Vec<u8>> {
        let mut keys = keys.iter().copied();
        typed_line(|| Ok::<_, ()>(keys.next())).unwrap().map(|line| line.to_vec())
    }

    #[test]
    fn a_typed_line_can_be_corrected_and_given_up() {
        assert_eq!(typed(b"abc\x7fd\n"), Some(b"abd".to_vec()));
        assert_eq!(typed("aä\x7fb\r".as_bytes()), Some(b"ab".to_vec()));
        assert_eq!(typed(b"wrong\x15right\n"), Some(b"right".to_vec()));
        assert_eq!(typed(b"abc\x03"), None);
        assert_eq!(typed(b""), None);
    }

    #[test]
    fn a_value_that_is_too_large_is_refused() {
        assert!(read_all(&[7; MAX_BYTES + 1][..], "x").is_err());
        assert_eq!(read_all(&[7; MAX_BYTES][..], "x").unwrap().len(), MAX_BYTES);
    }
}
