//! Who begins a handshake and does not go on: it holds up nobody else.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_tests::mesh::address;
use reverie_tests::programs::wait_until;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{PORT, Pair, ask, echo, far, near};

/// More than there are turns.
const STALLED: usize = 200;

fn client_hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), "tunnel.invalid".try_into().unwrap()).unwrap();
    let mut hello = vec![];
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// New connections are answered at once.
fn is_prompt(pair: &Pair) {
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(ask(&mut pair.dial(1, 7000), "hello").unwrap(), "hello");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[test]
fn who_says_hello_and_nothing_more_keeps_nobody_out_as_root() {
    // Nor do those count that have not shown who they are.
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", "max_connections = 100\n"));
    pair.serve(7001, echo);
    let hello = client_hello();
    let stalled: Vec<TcpStream> = pair.mesh.host(1).within(|| {
        let stall = |_| {
            let mut stream = TcpStream::connect((address(2), PORT)).unwrap();
            stream.write_all(&hello).unwrap();
            stream
        };
        (0..STALLED).map(stall).collect()
    });
    std::thread::sleep(Duration::from_millis(500));
    is_prompt(&pair);
    // They do not stay.
    for mut stream in stalled {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ended = stream.read_to_end(&mut vec![]);
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    wait_until("they are counted", 10, || {
        pair.metric(2, "reverie_tunnel_refused_total{tunnel=\"t\",reason=\"handshake\"}") >= STALLED as f64
    });
    is_prompt(&pair);
}

#[test]
fn a_far_end_that_takes_connections_and_says_nothing_holds_up_none_that_is_answered_as_root() {
    let limit = format!("max_connections = {}\n", STALLED + 10);
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", &limit), &far("tcp:127.0.0.1:7001", ""));
    pair.serve(7001, echo);
    let listener = pair.mesh.host(2).within(|| TcpListener::bind(("0.0.0.0", PORT + 1))).unwrap();
    pair.configure(1, &near("tcp:127.0.0.1:7000", &limit).replace(&format!(":{PORT}"), &format!(":{}", PORT + 1)));
    // Until the role has followed, connections go where they went before.
    listener.set_nonblocking(true).unwrap();
    wait_until("the role has followed", 10, || {
        drop(pair.dial(1, 7000));
        listener.accept().is_ok()
    });
    std::thread::sleep(Duration::from_secs(1));
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).unwrap();

    let callers: Vec<TcpStream> = (0..STALLED).map(|_| pair.dial(1, 7000)).collect();
    let silent: Vec<TcpStream> = (0..STALLED).map(|_| listener.accept().unwrap().0).collect();
    // From now on it leads to who answers.
    let answering: Vec<TcpStream> = pair.mesh.host(2).within(|| {
        let reach = |_| TcpStream::connect((address(2), PORT)).unwrap();
        (0..10).map(reach).collect()
    });
    let onward = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for (near, far) in onward.incoming().flatten().zip(answering) {
            let pass = |mut from: TcpStream, mut to: TcpStream| {
                let _ = copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            };
            let (from, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || pass(from, to));
            std::thread::spawn(move || pass(far, near));
        }
    });
    is_prompt(&pair);
    // No more than are allowed are waited for, and none for long.
    let _last: Vec<TcpStream> = (0..10).map(|_| pair.dial(1, 7000)).collect();
    wait_until("one more is closed at once", 5, || {
        drop(pair.dial(1, 7000));
        pair.metric(1, "reverie_tunnel_refused_total{tunnel=\"t\",reason=\"limit\"}") > 0.0
    });
    for mut caller in callers {
        caller.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_ne!(caller.read(&mut [0; 1]).map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
    }
    drop(silent);
}
