//! The least a client says to a service, and the answer that shows it was let in.

use std::io::{Read, Write};
use std::net::TcpStream;

/// A service by its protocol.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Nginx,
    Redis,
    Postgres,
}

impl Service {
    /// What is said before TLS.
    pub(super) fn greet(self, tcp: &mut TcpStream) -> Result<(), String> {
        let Self::Postgres = self else { return Ok(()) };
        tcp.write_all(&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]).map_err(|error| format!("SSLRequest: {error}"))?;
        let mut answer = [0];
        tcp.read_exact(&mut answer).map_err(|error| format!("SSLRequest: {error}"))?;
        if answer == *b"S" { Ok(()) } else { Err(format!("SSLRequest was answered {answer:?}")) }
    }

    /// One question and its answer. In TLS 1.3 a client is done before the server has judged its certificate: only an
    /// answer shows that it was accepted.
    pub(super) fn converse(self, tls: &mut (impl Read + Write)) -> Result<(), String> {
        let (question, accepted): (&[u8], &[u8]) = match self {
            Self::Nginx => (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
            Self::Redis => (b"PING\r\n", b"+PONG\r\n"),
            // StartupMessage 3.0 with a length, and AuthenticationOk.
            Self::Postgres => (b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0", b"R\0\0\0\x08\0\0\0\0"),
        };
        tls.write_all(question).map_err(|error| format!("asking: {error}"))?;
        let mut answer = vec![0; accepted.len()];
        tls.read_exact(&mut answer).map_err(|error| format!("waiting for the answer: {error}"))?;
        if answer == accepted { Ok(()) } else { Err(format!("answered {:?}", String::from_utf8_lossy(&answer))) }
    }
}
