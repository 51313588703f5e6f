//! Local callers of a tunnel's socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use reverie_tests::programs::wait_until;

use super::{Pair, ask, echo, far, near};

/// Somebody without any identity.
const STRANGER: &str = "65533";

fn as_stranger(program: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups", program]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_stranger_that_calls_without_end_keeps_nobody_waiting_as_root() {
    let pair = Pair::new(&near("unix", ""), &far("tcp:127.0.0.1:7001", ""));
    pair.serve(7001, echo);
    assert_eq!(ask(&mut pair.call(), "hello").unwrap(), "hello");
    // As many as it can have, again and again.
    let flood = "import socket, sys, threading
def call():
    while True:
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(sys.argv[1])
                one.recv(1)
            except OSError:
                pass
for _ in range(1500):
    threading.Thread(target=call, daemon=True).start()
print('all', flush=True)
threading.Event().wait(60)";
    let mut stranger = as_stranger("/usr/bin/python3", &["-c", flood, &pair.socket().display().to_string()]);
    stranger.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let slowest = (0..10).map(|_| {
        let begun = Instant::now();
        assert_eq!(ask(&mut pair.call(), "hello").unwrap(), "hello");
        begun.elapsed()
    });
    let slowest = slowest.max();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    eprintln!("the slowest: {slowest:?}");
    assert!(slowest < Some(Duration::from_secs(5)), "{slowest:?}");
}

#[test]
fn who_waits_while_the_tunnel_becomes_another_identitys_is_not_taken_for_it_as_root() {
    let anybody = far("tcp:127.0.0.1:7001", "").replace("svc/app", "svc/*");
    let pair = Pair::new(&near("unix", ""), &anybody);
    pair.serve(7001, echo);
    assert_eq!(ask(&mut pair.call(), "hello").unwrap(), "hello");
    // The role is busy elsewhere: of those that call, it gets as many as it has asked for already.
    let role = pair.role(1);
    kill(role, Signal::SIGSTOP).unwrap();
    let mut waiting: Vec<UnixStream> = (0..40).map(|_| pair.call()).collect();
    std::thread::sleep(Duration::from_secs(1));
    let strange = format!("[[identity]]\nname = \"strange\"\nmatch = {{ uid = {STRANGER} }}\n");
    pair.configure(1, &format!("{strange}{}", near("unix", "").replace("\"app\"", "\"strange\"")));
    kill(role, Signal::SIGCONT).unwrap();
    // It is theirs now.
    let script = "echo hello | timeout 5 socat -t 3 - \"$1\"";
    let socket = format!("UNIX-CONNECT:{}", pair.socket().display());
    wait_until("who has the identity is answered", 20, || {
        let output = as_stranger("sh", &["-c", script, "sh", &socket]).wait_with_output().unwrap();
        output.stdout == b"hello\n"
    });
    let answered = waiting.iter_mut().skip(10).filter_map(|caller| {
        let _ = caller.write_all(b"hello");
        let mut answer = [0; 5];
        caller.read_exact(&mut answer).is_ok().then_some(answer)
    });
    assert_eq!(answered.count(), 0);
}
