//! The network that the other tests stand on, by itself.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reverie_tests::mesh::{Link, Namespace, Switch, address, name};

/// `count` hosts, each with a server that echoes what it is sent.
struct Echoes {
    namespaces: Vec<Namespace>,
    switch: Switch,
    servers: Vec<std::process::Child>,
}

impl Echoes {
    fn new(count: usize) -> Self {
        let table: String = (1..=count).map(|number| format!("{} {}\n", address(number), name(number))).collect();
        let namespaces: Vec<Namespace> = (0..count).map(|_| Namespace::new(&table)).collect();
        let switch = Switch::start(&namespaces.iter().map(Namespace::pid).collect::<Vec<_>>());
        let mut servers = vec![];
        for space in &namespaces {
            let wrapper = space.wrapper();
            let mut command = Command::new(&wrapper[0]);
            command.args(&wrapper[1..]).args(["socat", "TCP-LISTEN:7,fork,reuseaddr", "EXEC:cat"]);
            servers.push(command.stdin(Stdio::null()).spawn().unwrap());
        }
        let echoes = Self { namespaces, switch, servers };
        for number in 1..=count {
            reverie_tests::programs::wait_until("its server answers", 10, || echoes.echo(number, number, 1).is_some());
        }
        echoes
    }

    /// Sends a line from one host to another and gets it back; the time this took.
    fn echo(&self, from: usize, to: usize, seconds: u32) -> Option<Duration> {
        let wrapper = self.namespaces[from - 1].wrapper();
        let mut command = Command::new(&wrapper[0]);
        let limit = format!("connect-timeout={seconds}");
        command.args(&wrapper[1..]).args(["timeout", &seconds.to_string(), "socat", "-", &format!("TCP:{}:7,{limit}", name(to))]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(b"hello\n");
        drop(input);
        let mut answer = String::new();
        child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
        child.wait().unwrap();
        (answer == "hello\n").then(|| begun.elapsed())
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[test]
fn links_are_slow_lossy_or_cut_as_they_are_told_as_root() {
    let mut echoes = Echoes::new(3);
    assert!(echoes.echo(1, 2, 5).is_some() && echoes.echo(2, 3, 5).is_some(), "names resolve and frames pass");

    echoes.switch.link(1, 2, Link { delay_ms: 100.0, jitter_ms: 10.0, ..Link::default() });
    let slow = echoes.echo(1, 2, 5).unwrap();
    assert!(slow >= Duration::from_millis(180), "a handshake and a line, each a way of 100 ms: {slow:?}");

    echoes.switch.cut(1, 3);
    assert_eq!(echoes.echo(1, 3, 1), None);
    assert_eq!(echoes.echo(3, 1, 1), None, "answers do not come back over a link that works one way");
    assert!(echoes.echo(2, 3, 5).is_some(), "others are not concerned");
    echoes.switch.mend(1, 3);
    assert!(echoes.echo(1, 3, 5).is_some());

    echoes.switch.link(0, 0, Link { loss: 1.0, ..Link::default() });
    assert_eq!(echoes.echo(2, 3, 1), None);
    echoes.switch.clear();
    assert!(echoes.echo(1, 2, 5).unwrap() < Duration::from_millis(500));
    let bytes = echoes.switch.bytes();
    assert!(bytes.len() == 3 && bytes.iter().all(|(sent, received)| *sent > 100 && *received > 100), "{bytes:?}");
}

#[test]
fn nothing_is_left_of_a_network_that_is_dropped_as_root() {
    let echoes = Echoes::new(2);
    let pids: Vec<u32> = echoes.namespaces.iter().map(Namespace::pid).collect();
    let files: Vec<_> = echoes.namespaces.iter().map(Namespace::hosts_file).collect();
    drop(echoes);
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/ns/net")).exists()));
    assert!(files.iter().all(|file| !file.exists()));
}
