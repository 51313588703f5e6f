//! Files that the configuration names.

use std::fs::File;
use std::io::{self, Read};

/// All of a text file of at most `most` bytes; why not, with what to try. Blocking.
pub fn read(path: &str, most: u64) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot read {path} ({error}): make it readable for the agent's user");
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_string(&mut text));
    match read.map_err(failed)? as u64 > most {
        true => Err(format!("{path} is larger than {most} bytes")),
        false => Ok(text),
    }
}
