//! redis ignores SIGHUP, but reloads its certificate when it is told the paths again.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::super::failure::{Doing, Failure};

/// Longer than any error of redis, in bytes.
const MAX_REPLY: usize = 1024;

pub(super) fn reload(socket: &str, directory: &str, deadline: Duration) -> Result<(), Failure> {
    for path in [socket, directory] {
        if !Path::new(path).is_absolute() || path.len() > 4096 {
            return Err(format!("{path:?} must be an absolute path, of redis's socket or of its certificates").into());
        }
    }
    let until = Instant::now() + deadline;
    let doing = || format!("talk to redis at {socket}");
    let mut stream = connect(socket, until).doing(doing)?;
    // One command: with the certificate set alone, redis would see that its key does not fit.
    let parameter = |file: &str| format!("{directory}/{file}");
    let words = [
        "CONFIG",
        "SET",
        "tls-cert-file",
        &parameter("tls.crt"),
        "tls-key-file",
        &parameter("tls.key"),
        "tls-ca-cert-file",
        &parameter("ca.crt"),
    ];
    limit(&stream, until).and_then(|()| stream.write_all(&encode(&words))).doing(doing)?;
    let reply = read_line(&mut stream, until).doing(doing)?;
    if reply == "+OK" {
        return Ok(());
    }
    Err(format!("redis at {socket} answered {reply:?}; several settings in one CONFIG SET take redis 7 and permission to use it")
        .into())
}

/// A connection to a socket whose backlog is full would wait without a deadline.
fn connect(socket: &str, until: Instant) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(socket)?;
    loop {
        match rustix::net::connect(&stream, &address) {
            Ok(()) => break,
            Err(rustix::io::Errno::AGAIN) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    }
    rustix::io::ioctl_fionbio(&stream, false)?;
    Ok(stream.into())
}

/// Limits the next read and write to what is left.
fn limit(stream: &UnixStream, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
    }
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))
}

fn read_line(stream: &mut UnixStream, until: Instant) -> io::Result<String> {
    let mut reply = Vec::new();
    let mut buffer = [0; 256];
    while !reply.contains(&b'\n') {
        if reply.len() > MAX_REPLY {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is no line; is it redis?"));
        }
        limit(stream, until)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            Ok(read) => reply.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
            }
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8_lossy(&reply);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A RESP array of bulk strings, where no byte of a word can be mistaken for another command.
fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn server(answer: &'static [u8]) -> (tempfile::TempDir, String, std::thread::JoinHandle<Vec<u8>>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("redis.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).unwrap();
            // The client may have gone when it had heard enough.
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut [0; 1]);
            buffer[..read].to_vec()
        });
        (directory, socket.to_str().unwrap().to_owned(), heard)
    }

    #[test]
    fn all_three_paths_are_set_in_one_command() {
        let (_directory, socket, heard) = server(b"+OK\r\n");
        reload(&socket, "/run/reverie/certs/cache", Duration::from_secs(5)).unwrap();
        let expected = "*8\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$13\r\ntls-cert-file\r\n$32\r\n/run/reverie/certs/cache/tls.crt\r\n\
                        $12\r\ntls-key-file\r\n$32\r\n/run/reverie/certs/cache/tls.key\r\n\
                        $16\r\ntls-ca-cert-file\r\n$31\r\n/run/reverie/certs/cache/ca.crt\r\n";
        assert_eq!(String::from_utf8(heard.join().unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_redis_objects_to_is_passed_on() {
        let (_directory, socket, _heard) = server(b"-ERR Unable to update TLS configuration.\r\n");
        let Err(Failure::Refused(message)) = reload(&socket, "/x", Duration::from_secs(5)) else { panic!("accepted") };
        assert!(message.contains("Unable to update TLS"), "{message}");
    }

    #[test]
    fn a_silent_or_babbling_server_is_left_at_the_deadline_or_the_limit() {
        for (answer, expected) in [(&b""[..], "in time"), (&[b'x'; 4096], "is it redis?")] {
            let (_directory, socket, _heard) = server(answer);
            let Err(Failure::Refused(message)) = reload(&socket, "/x", Duration::from_millis(300)) else { panic!("accepted") };
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_full_backlog_does_not_outlast_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("full.sock");
        let address = SocketAddrUnix::new(&socket).unwrap();
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _first = UnixStream::connect(&socket).unwrap();
        let before = Instant::now();
        assert!(reload(socket.to_str().unwrap(), "/x", Duration::from_millis(300)).is_err());
        assert!(before.elapsed() < Duration::from_secs(5));
    }
}
