//! Server-sent events (WHATWG HTML §9.2), as far as the agent uses them: `data:` lines, an empty line between events.

use std::path::PathBuf;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::failure::{broken, too_large, unreadable};
use crate::failure::Failure;

/// A longer event is refused.
const MAX_EVENT: usize = 1 << 20;

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    socket: PathBuf,
    body: Incoming,
    parser: Parser,
}

impl Events {
    pub(super) fn new(socket: PathBuf, body: Incoming) -> Self {
        Self { socket, body, parser: Parser::default() }
    }

    /// The next event; none when the agent ended the stream.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        loop {
            if let Some(data) = self.parser.take() {
                return serde_json::from_str(&data).map(Some).map_err(|_| unreadable(&self.socket, "an event of unknown shape"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(why)) => return Err(broken(&self.socket, &why)),
                Some(Ok(frame)) => {
                    self.parser.feed(frame.data_ref().map_or(&[], |data| data));
                    if self.parser.buffer.len() > MAX_EVENT {
                        return Err(too_large(&self.socket, MAX_EVENT));
                    }
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    buffer: Vec<u8>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next whole event; comments and events without data are skipped.
    fn take(&mut self) -> Option<String> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let data: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let mut parser = Parser::default();
        let mut seen = vec![];
        for byte in b": keep-alive\n\nevent: rotation\ndata: {\"a\":\ndata: 1}\n\ndata:2\n\ndata: cut" {
            parser.feed(&[*byte]);
            seen.extend(parser.take());
        }
        assert_eq!(seen, ["{\"a\":\n1}", "2"]);
    }
}
