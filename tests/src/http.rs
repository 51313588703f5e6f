//! A small HTTP/1.1 client over unix sockets, written for the tests alone.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header lines, as they came.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON body of an answer that must be 200.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The problem's detail of an answer that must have `status`.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.head.contains("application/problem+json"), "{}", self.head);
        self.json()["detail"].as_str().expect("detail").to_owned()
    }
}

/// One request on a connection of its own.
pub fn request(socket: &Path, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    exchange(&mut stream, method, path, &[headers, &[("connection", "close")]].concat(), body)
}

/// One request on a connection that stays open.
pub fn exchange(stream: &mut UnixStream, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    // A server that refuses early may close before everything is sent; its answer is read all the same.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    read_answer(stream)
}

/// Reads one answer: its head, then as many bytes as it announces, or all until the end.
pub fn read_answer(stream: &mut UnixStream) -> Answer {
    let mut bytes = vec![];
    let mut buffer = [0; 16 * 1024];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the connection ended in the head: {:?}", String::from_utf8_lossy(&bytes)),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("no answer: {error}; so far {:?}", String::from_utf8_lossy(&bytes)),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let mut body = bytes.split_off(end + 4);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    let announced =
        head.lines().find_map(|line| line.strip_prefix("content-length:")).map(|text| text.trim().parse().expect("a length"));
    while announced.is_none_or(|length: usize| body.len() < length) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => body.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("the body did not come: {error}"),
        }
    }
    Answer { status, head, body }
}

/// Did the server close this connection? Asked without reading from it.
pub fn is_cut(stream: &UnixStream) -> bool {
    let mut asked = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).expect("poll");
    asked[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}
