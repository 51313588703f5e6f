//! Services without any authentication of their own, used from another host.

use std::io::{Read, Write};

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
