//! Connections: their ends, their pace, and many of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reverie_tests::programs::wait_until;
use serde_json::json;

use super::{Pair, ask, echo, far, near};

/// Reads until the other side ends, then says how much that was, in as many bytes as are wanted.
fn count(mut stream: TcpStream) {
    let (mut total, mut buffer) = (0_u64, vec![0; 256 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => total += count as u64,
            Err(_) => return,
        }
    }
    let _ = stream.write_all(format!("{total}\n").as_bytes());
}

#[test]
fn an_end_of_one_direction_leaves_the_other_open_as_root() {
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", ""));
    // The caller ends first, and still gets its answer.
    pair.serve(7001, count);
    let mut caller = pair.dial(1, 7000);
    let sent = vec![7; 3_000_000];
    caller.write_all(&sent).unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "3000000\n");

    // The service ends first, and still gets what comes after.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service.sock");
    let service = std::os::unix::net::UnixListener::bind(&path).unwrap();
    service.set_nonblocking(true).unwrap();
    pair.configure(2, &far(&format!("unix:{}", path.display()), ""));
    // Until the role has followed, connections go where they went before.
    let (mut caller, mut there) = loop {
        let mut caller = pair.dial(1, 7000);
        let _ = caller.write_all(b"first");
        std::thread::sleep(Duration::from_millis(300));
        if let Ok((there, _)) = service.accept() {
            there.set_nonblocking(false).unwrap();
            break (caller, there);
        }
    };
    let mut first = [0; 5];
    there.read_exact(&mut first).unwrap();
    there.write_all(b"goodbye").unwrap();
    there.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    caller.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "goodbye");
    caller.write_all(b"and the rest").unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    there.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "and the rest");
}

#[test]
fn what_was_broken_off_does_not_seem_to_have_ended_as_root() {
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", ""));
    pair.serve(7001, echo);
    let mut caller = pair.dial(1, 7000);
    ask(&mut caller, "hello").unwrap();
    // The far end goes without a word.
    pair.mesh.host(2).agent.signal(nix::sys::signal::Signal::SIGKILL);
    let error = caller.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn a_role_that_is_killed_does_not_seem_to_have_ended_a_connection_as_root() {
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", ""));
    let listener = pair.mesh.host(2).within(|| TcpListener::bind(("127.0.0.1", 7001))).unwrap();
    for host in [1, 2] {
        let mut caller = pair.dial(1, 7000);
        let mut service = listener.accept().unwrap().0;
        caller.write_all(b"hello").unwrap();
        service.read_exact(&mut [0; 5]).unwrap();
        service.write_all(b"hello").unwrap();
        caller.read_exact(&mut [0; 5]).unwrap();
        nix::sys::signal::kill(pair.role(host), nix::sys::signal::Signal::SIGKILL).unwrap();
        for (what, stream) in [("caller", &mut caller), ("service", &mut service)] {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let read = stream.read(&mut [0; 8]).map_err(|error| error.kind());
            assert_eq!(read, Err(std::io::ErrorKind::ConnectionReset), "{what}, when the role of host {host} is killed");
        }
        // Another role takes over.
        listener.set_nonblocking(true).unwrap();
        wait_until("the service is reached again", 20, || {
            let _caller = pair.dial(1, 7000);
            std::thread::sleep(Duration::from_millis(300));
            listener.accept().is_ok()
        });
        std::thread::sleep(Duration::from_secs(1));
        while listener.accept().is_ok() {}
        listener.set_nonblocking(false).unwrap();
    }
}

#[test]
fn a_connection_that_is_too_old_is_broken_off_and_another_goes_on_as_root() {
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", "max_connection_seconds = 10\n"));
    pair.serve(7001, echo);
    let aged = || pair.metric(2, "reverie_tunnel_withdrawn_total{tunnel=\"t\",reason=\"age\"}");
    let (mut old, begun) = (pair.dial(1, 7000), Instant::now());
    assert_eq!(ask(&mut old, "hello").unwrap(), "hello");
    std::thread::sleep(Duration::from_secs(5));
    let mut young = pair.dial(1, 7000);
    assert_eq!(ask(&mut young, "hello").unwrap(), "hello");
    let error = old.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    assert!((8.5..20.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    assert_eq!(ask(&mut young, "still").unwrap(), "still");
    wait_until("it is counted", 10, || aged() > 0.0);
}

#[test]
fn a_slow_reader_is_waited_for_and_costs_no_memory_as_root() {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", ""));
    pair.serve(7001, |mut stream| {
        let block = vec![3; 64 * 1024];
        // What is closed unread is reset.
        let _ = stream.read_exact(&mut [0; 2]);
        for _ in 0..4096 {
            if stream.write_all(&block).is_err() {
                return;
            }
            SENT.fetch_add(block.len() as u64, Ordering::Relaxed);
        }
    });
    let before = memory_of_roles();
    let mut caller = pair.dial(1, 7000);
    caller.write_all(b"go").unwrap();
    // The service is held up, by and by, through two agents.
    let mut last = 0;
    wait_until("nothing moves", 30, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = SENT.load(Ordering::Relaxed);
        std::mem::replace(&mut last, now) == now && now > 0
    });
    assert!(last < 64 << 20, "{last} bytes are on their way");
    assert!(memory_of_roles() < before + 8 * 1024, "{} KiB from {before}", memory_of_roles());
    // What was held up is all there.
    let (mut total, mut buffer) = (0, vec![0; 256 * 1024]);
    while let Ok(count @ 1..) = caller.read(&mut buffer) {
        assert!(buffer[..count].iter().all(|byte| *byte == 3));
        total += count;
    }
    assert_eq!(total, 4096 * 64 * 1024);
}

/// Resident memory of all roles `tunnel` together, in KiB.
fn memory_of_roles() -> u64 {
    let mut total = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if words.ends_with(b"--role\0tunnel\0") {
            let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
            total += line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        }
    }
    total
}

#[test]
fn a_rotation_drops_no_connection_and_the_next_shows_the_new_certificate_as_root() {
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", ""));
    pair.serve(7001, echo);
    let mut open = pair.dial(1, 7000);
    let refused = || [1, 2].map(|host| pair.metric(host, "reverie_tunnel_refused_total{tunnel=\"t\",reason=\"peer\"}"));
    std::thread::sleep(Duration::from_secs(2));
    let before = refused();
    let until = Instant::now() + Duration::from_secs(6);
    let (mut asked, mut rotated) = (0_u64, 0);
    while Instant::now() < until {
        // In the middle of a transfer.
        let question = format!("{asked:08}").repeat(4096);
        open.write_all(question.as_bytes()).unwrap();
        if asked % 40 == 20 {
            for (host, identity) in [(1, "app"), (2, "service")] {
                pair.mesh.host(host).agent.admin_post("/api/admin/rotate", &json!({ "identity": identity })).ok();
            }
            rotated += 1;
            // With what is current, and while it changes.
            for _ in 0..5 {
                assert_eq!(ask(&mut pair.dial(1, 7000), "a new one").unwrap(), "a new one");
            }
        }
        let mut answer = vec![0; question.len()];
        open.read_exact(&mut answer).unwrap();
        assert!(answer == question.as_bytes(), "{asked}");
        asked += 1;
    }
    assert!(rotated >= 2 && asked > 50, "{rotated} rotations in {asked} exchanges");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(refused(), before);
}

#[test]
fn thousands_of_connections_are_held_open_and_all_of_them_work_as_root() {
    let wanted = match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        // A role has two for each.
        Ok((_, hard)) => 10_000.min(usize::try_from(hard).unwrap_or(usize::MAX) / 2 - 200),
        Err(error) => panic!("{error}"),
    };
    reverie_sys::process::raise_nofile_limit().unwrap();
    // Two sockets of each are this process's. 9,700 were held by hand, which is all that 20,000 descriptors allow.
    let wanted = wanted.min(2_000);
    eprintln!("{wanted} connections");
    let pair = Pair::new(&near("tcp:127.0.0.1:7000", ""), &far("tcp:127.0.0.1:7001", ""));
    let listener = pair.mesh.host(2).within(|| TcpListener::bind(("127.0.0.1", 7001))).unwrap();
    let server = std::thread::spawn(move || {
        let accepted: Vec<TcpStream> = listener.incoming().take(wanted).map(Result::unwrap).collect();
        for mut stream in &accepted {
            let mut question = [0; 8];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        }
        accepted
    });
    let before = memory_of_roles();
    let begun = Instant::now();
    let mut callers = vec![];
    for _ in 0..wanted {
        callers.push(pair.dial(1, 7000));
        if callers.len() % 200 == 0 {
            let open = callers.len() as f64;
            wait_until("most are through", 60, || pair.metric(1, "reverie_tunnel_connections{tunnel=\"t\"}") + 400.0 > open);
        }
    }
    wait_until("all are open", 120, || {
        (1..=2).all(|host| pair.metric(host, "reverie_tunnel_connections{tunnel=\"t\"}") == wanted as f64)
    });
    let held = memory_of_roles() - before;
    eprintln!("{wanted} in {:?}, {held} KiB in both roles, {} KiB each", begun.elapsed(), held / 2 / wanted as u64);
    for host in [1, 2] {
        let asked = Instant::now();
        pair.mesh.host(host).agent.admin_get("/api/admin/status").ok();
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    for (number, caller) in callers.iter_mut().enumerate() {
        caller.write_all(format!("{number:08}").as_bytes()).unwrap();
    }
    let mut answers = std::collections::BTreeSet::new();
    for caller in &mut callers {
        caller.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = [0; 8];
        caller.read_exact(&mut answer).unwrap();
        answers.insert(answer);
    }
    assert_eq!(answers.len(), wanted);
    drop((callers, server.join().unwrap()));
    wait_until("none is left", 60, || pair.metric(1, "reverie_tunnel_connections{tunnel=\"t\"}") == 0.0);
}
