//! The load: raw HTTP/1.1 over unix sockets. It shares the processors with what it measures, so it does very little.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reverie_core::api::{Code, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::failure::{Exit, Failure};

/// Longest head and body of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// One answer may take this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked, and how.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) socket: PathBuf,
    pub(super) request: Vec<u8>,
    pub(super) connections: usize,
    /// A new connection for every request.
    pub(super) renew: bool,
}

/// A request without a body, or with one of JSON.
pub(super) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{length}\r\n{body}").into_bytes()
}

struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).await.map_err(|error| broken(socket, &error))?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends the request, reads the whole answer, returns the length of its body.
    async fn ask(&mut self, load: &Load) -> Result<usize, Failure> {
        let Self { stream, buffer } = self;
        buffer.clear();
        stream.write_all(&load.request).await.map_err(|error| broken(&load.socket, &error))?;
        loop {
            if let Some(answer) = parse(buffer)? {
                return match answer.status {
                    200 => Ok(answer.length),
                    status => Err(refused(status, &buffer[buffer.len() - answer.length..])),
                };
            }
            if buffer.len() > MAX_ANSWER {
                return Err(strange("is too large"));
            }
            if stream.read_buf(buffer).await.map_err(|error| broken(&load.socket, &error))? == 0 {
                return Err(Failure::new(Exit::TempFail, "the connection was closed in the middle of the benchmark")
                    .advise("read the agent's log; it may limit connections: `limits` in its configuration"));
            }
        }
    }
}

struct Answer {
    status: u16,
    length: usize,
}

/// The answer, once all of it is in the buffer.
fn parse(buffer: &[u8]) -> Result<Option<Answer>, Failure> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&buffer[..end]).map_err(|_| strange("is not HTTP"))?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| strange("is not HTTP/1.1"))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.filter(|length| *length <= MAX_ANSWER).ok_or_else(|| strange("has no content-length"))?;
    Ok((buffer.len() >= end + 4 + length).then_some(Answer { status, length }))
}

fn strange(what: &str) -> Failure {
    Failure::new(Exit::Internal, format_args!("an answer {what}")).advise("compare versions with `agentctl doctor`")
}

fn broken(socket: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format_args!("cannot talk to {}: {}", socket.display(), crate::failure::reason(error)))
        .advise("is the agent running? `agentctl doctor`; many connections need `ulimit -n`")
}

fn refused(status: u16, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.code == Code::TooMany => Failure::from(problem)
            .advise("lift the limits for the benchmark: `[limits] requests_per_second = 0` and a large `connections_per_uid`"),
        Ok(problem) => problem.into(),
        Err(_) => strange(&format!("has the status {status}")),
    }
}

/// The length of one answer's body, and a check that the benchmark can run at all.
pub(super) async fn probe(load: &Load) -> Result<usize, Failure> {
    let asked = async { Connection::open(&load.socket).await?.ask(load).await };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| strange("did not come"))?
}

/// One turn: every connection asks again and again until the time is over. Times in nanoseconds.
pub(super) async fn turn(load: &Load, length: Duration) -> Result<(Vec<u64>, Duration), Failure> {
    let mut tasks = Vec::with_capacity(load.connections);
    let mut open = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        open.push(if load.renew { None } else { Some(Connection::open(&load.socket).await?) });
    }
    let start = Instant::now();
    let end = start + length;
    for connection in open {
        let load = load.clone();
        tasks.push(tokio::spawn(tokio::time::timeout(length + PATIENCE, one(load, connection, end))));
    }
    let mut times = vec![];
    for task in tasks {
        let result = task.await.map_err(|error| Failure::new(Exit::Internal, error))?;
        times.extend(result.map_err(|_| strange("did not come"))??);
    }
    Ok((times, start.elapsed()))
}

async fn one(load: Load, mut kept: Option<Connection>, end: Instant) -> Result<Vec<u64>, Failure> {
    let mut times = vec![];
    loop {
        let begin = Instant::now();
        if begin >= end {
            return Ok(times);
        }
        match &mut kept {
            Some(connection) => connection.ask(&load).await?,
            None => Connection::open(&load.socket).await?.ask(&load).await?,
        };
        times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_only_with_its_body() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        assert_eq!(parse(whole).unwrap().unwrap().length, 3);
        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_limit_of_the_agent_is_explained() {
        let body = serde_json::to_vec(&Problem::new(Code::TooMany, "too many requests")).unwrap();
        assert!(refused(429, &body).advice.unwrap().contains("requests_per_second = 0"));
    }
}
