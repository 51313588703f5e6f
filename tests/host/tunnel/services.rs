//! Services without any authentication of their own, used from another host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tests::programs::wait_until;

use super::{Pair, far, near};

fn redis(stream: &mut (impl Read + Write), command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut answer = vec![0; 64];
    let count = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[test]
fn redis_on_a_socket_is_used_from_another_host_by_a_socket_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock");
    let pair = Pair::new(&near("unix", ""), &far(&format!("unix:{}", socket.display()), ""));
    let path = socket.display().to_string();
    let _redis = pair.start(2, "redis-server", &["--port", "0", "--save", "", "--unixsocket", &path]);
    wait_until("redis listens", 10, || socket.exists());
    let mut stream = pair.call();
    assert_eq!(redis(&mut stream, "SET question 42"), "+OK\r\n");
    assert_eq!(redis(&mut stream, "GET question"), "$2\r\n42\r\n");
    let mut other = pair.call();
    assert_eq!(redis(&mut other, "GET question"), "$2\r\n42\r\n");
    wait_until("both are counted", 10, || pair.metric(1, "reverie_tunnel_connections{tunnel=\"t\"}") == 2.0);
    wait_until("bytes are counted", 10, || {
        pair.metric(2, "reverie_tunnel_bytes_total{tunnel=\"t\",direction=\"received\"}") > 0.0
    });
    drop((stream, other));
    wait_until("and gone", 10, || pair.metric(1, "reverie_tunnel_connections{tunnel=\"t\"}") == 0.0);
}

#[test]
fn memcached_on_a_socket_is_used_from_another_host_by_a_port_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("memcached.sock");
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far(&format!("unix:{}", socket.display()), ""));
    let path = socket.display().to_string();
    let _memcached = pair.start(2, "memcached", &["-u", "root", "-s", &path, "-a", "0700"]);
    wait_until("memcached listens", 10, || socket.exists());
    let mut stream = pair.dial(1, 7000);
    let mut ask = |command: &str, ends: &str| {
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with(ends) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0].into());
        }
        answer
    };
    assert_eq!(ask("set question 0 0 2\r\n42\r\n", "\r\n"), "STORED\r\n");
    assert_eq!(ask("get question\r\n", "END\r\n"), "VALUE question 0 2\r\n42\r\nEND\r\n");
}

/// The shape of a model server: no authentication, one JSON question, an answer in pieces as they are made.
fn model(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let question = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    assert_eq!(question, "POST /api/generate HTTP/1.1");
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    for word in ["forty", "two"] {
        let piece = format!("{{\"response\":\"{word}\"}}\n");
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
}

#[test]
fn a_model_server_streams_its_answer_piece_by_piece_to_a_socket_as_root() {
    let pair = Pair::new(&near("unix", ""), &far("tcp:127.0.0.1:11434", ""));
    pair.serve(11434, model);
    let socket = pair.socket().display().to_string();
    let begun = Instant::now();
    let mut curl = Command::new("curl")
        .args(["--no-buffer", "--silent", "--fail", "--unix-socket", &socket, "-d", "{}", "http://models/api/generate"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pieces = BufReader::new(curl.stdout.take().unwrap()).lines();
    assert_eq!(pieces.next().unwrap().unwrap(), "{\"response\":\"forty\"}");
    let first = begun.elapsed();
    assert_eq!(pieces.next().unwrap().unwrap(), "{\"response\":\"two\"}");
    assert!(begun.elapsed() >= first + Duration::from_millis(200), "the first came before the second was made");
    assert!(pieces.next().is_none() && curl.wait().unwrap().success());
}

#[test]
fn processes_of_two_hosts_meet_at_a_coordination_socket_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("barrier.sock");
    let pair = Pair::new(&near("unix", ""), &far(&format!("unix:{}", path.display()), ""));
    let listener = UnixListener::bind(&path).unwrap();
    // Nobody goes on before all are there.
    let barrier = std::thread::spawn(move || {
        let mut all = vec![];
        while all.len() < 4 {
            let mut rank = listener.accept().unwrap().0;
            // Who only tried whether the tunnel holds says nothing.
            if rank.read_exact(&mut [0]).is_ok() {
                all.push(rank);
            }
        }
        all.iter_mut().for_each(|rank| rank.write_all(b"go").unwrap());
    });
    let mut ranks: Vec<UnixStream> = (0..2).map(|_| pair.call()).collect();
    ranks.extend((0..2).map(|_| UnixStream::connect(&path).unwrap()));
    ranks.iter_mut().for_each(|rank| rank.write_all(b"r").unwrap());
    for rank in &mut ranks {
        let mut word = [0; 2];
        rank.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"go");
    }
    barrier.join().unwrap();
}
