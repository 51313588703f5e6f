//! The few TPM commands the resource manager gives itself (TPM 2.0 Part 3), over swtpm's data socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The longest command or answer: swtpm's own bound.
pub(super) const MAX_MESSAGE: usize = 4096;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const PCR_EXTEND: u32 = 0x182;
const GET_CAPABILITY: u32 = 0x17a;
const FLUSH_CONTEXT: u32 = 0x165;
const CAP_HANDLES: u32 = 1;
const PASSWORD_SESSION: u32 = 0x4000_0009;
const SHA256: u16 = 0x000b;
/// First handles of transient objects, HMAC sessions, policy sessions.
const LEFT_BEHIND: [u32; 3] = [0x8000_0000, 0x0200_0000, 0x0300_0000];

pub(super) struct Tpm(UnixStream);

impl Tpm {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        socket.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(socket))
    }

    /// Passes `command` on and returns the answer.
    pub(super) fn transact(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut answer = vec![0; 10];
        self.0.read_exact(&mut answer)?;
        let len = usize::try_from(u32_at(&answer, 2)?).unwrap_or(usize::MAX);
        if !(10..=MAX_MESSAGE).contains(&len) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of impossible length"));
        }
        answer.resize(len, 0);
        self.0.read_exact(&mut answer[10..])?;
        Ok(answer)
    }

    /// Extends `pcr` by the SHA-256 of `what`.
    pub(super) fn extend(&mut self, pcr: u8, what: &[u8]) -> io::Result<()> {
        let mut body = u32::from(pcr).to_be_bytes().to_vec();
        body.extend(9u32.to_be_bytes());
        body.extend(PASSWORD_SESSION.to_be_bytes());
        body.extend([0; 5]); // no nonce, no attributes, no password
        body.extend(1u32.to_be_bytes());
        body.extend(SHA256.to_be_bytes());
        body.extend(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, what).as_ref());
        self.succeed(SESSIONS, PCR_EXTEND, &body).map(drop)
    }

    /// Flushes every object and session that is loaded.
    pub(super) fn flush_all(&mut self) -> io::Result<()> {
        for first in LEFT_BEHIND {
            let ask: Vec<u8> = [CAP_HANDLES, first, 64].into_iter().flat_map(u32::to_be_bytes).collect();
            let answer = self.succeed(NO_SESSIONS, GET_CAPABILITY, &ask)?;
            let count = usize::try_from(u32_at(&answer, 15)?).unwrap_or(0).min(64);
            for index in 0..count {
                let handle = u32_at(&answer, 19 + 4 * index)?;
                self.succeed(NO_SESSIONS, FLUSH_CONTEXT, &handle.to_be_bytes())?;
            }
        }
        Ok(())
    }

    fn succeed(&mut self, tag: u16, code: u32, body: &[u8]) -> io::Result<Vec<u8>> {
        let len = u32::try_from(10 + body.len()).map_err(io::Error::other)?;
        let command = [&tag.to_be_bytes()[..], &len.to_be_bytes(), &code.to_be_bytes(), body].concat();
        let answer = self.transact(&command)?;
        match u32_at(&answer, 6)? {
            0 => Ok(answer),
            error => Err(io::Error::other(format!("TPM command {code:#x} failed with {error:#x}"))),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_be_bytes).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}
