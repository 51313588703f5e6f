//! A fake agent: two unix sockets, answers by rule, requests remembered.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reverie_core::api::{Code, Problem};
use serde::Serialize;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `agent.sock` or `admin.sock`.
    pub(crate) socket: String,
    /// `GET /v1/whoami`.
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// What is sent back, to the byte; nothing means silence.
pub(crate) type Reply = Option<Vec<u8>>;

pub(crate) fn json<T: Serialize>(value: &T) -> Reply {
    http(200, "application/json", &serde_json::to_vec(value).unwrap())
}

pub(crate) fn problem(problem: &Problem) -> Reply {
    http(problem.status, "application/problem+json", &serde_json::to_vec(problem).unwrap())
}

pub(crate) fn no_admin() -> Reply {
    problem(&Problem::new(Code::NotPermitted, "you are not an administrator").advise("ask one"))
}

pub(crate) fn http(status: u16, media: &str, body: &[u8]) -> Reply {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

pub(crate) struct Agent {
    pub(crate) run: PathBuf,
    seen: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Agent {
    pub(crate) fn start(run: &Path, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        std::fs::create_dir_all(run).unwrap();
        let (seen, stop) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
        let answer = Arc::new(answer);
        for name in ["agent.sock", "admin.sock"] {
            let listener = UnixListener::bind(run.join(name)).unwrap();
            let (seen, stop, answer) = (Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&answer));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    std::thread::spawn(move || serve(name, &stream.unwrap(), &seen, &*answer));
                }
            });
        }
        Self { run: run.to_owned(), seen, stop }
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets the newest requests.
    pub(crate) fn forget(&self, count: usize) {
        let mut seen = self.seen.lock().unwrap();
        let left = seen.len().saturating_sub(count);
        seen.truncate(left);
    }

    pub(crate) fn last(&self) -> Asked {
        self.seen().pop().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for name in ["agent.sock", "admin.sock"] {
            let _ = UnixStream::connect(self.run.join(name));
        }
    }
}

/// Request after request, until the client leaves or an answer is cut short.
fn serve(socket: &str, mut stream: &UnixStream, seen: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    while let Some(asked) = read(socket, stream) {
        seen.lock().unwrap().push(asked.clone());
        match answer(&asked) {
            Some(reply) if is_whole(&reply) && stream.write_all(&reply).is_ok() => {}
            Some(reply) => return drop(stream.write_all(&reply)),
            // Until the client gives up.
            None => return drop(stream.read(&mut [0])),
        }
    }
}

fn read(socket: &str, mut stream: &UnixStream) -> Option<Asked> {
    let mut bytes = vec![];
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut body = vec![0; header(&head, "content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let body = String::from_utf8(body).unwrap();
    Some(Asked { socket: socket.into(), line, authorization: header(&head, "authorization"), body })
}

fn header(head: &str, name: &str) -> Option<String> {
    let named =
        |line: &str| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned());
    head.lines().find_map(named)
}

fn is_whole(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let length =
        header(&String::from_utf8_lossy(&reply[..end]), "content-length").and_then(|length| length.parse::<usize>().ok());
    length == Some(reply.len() - end - 4)
}
