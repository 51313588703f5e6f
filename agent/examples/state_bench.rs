//! Measures the keeper's state: durable changes a second, the writer's share of a core, the register with many rows.
//!
//! `cargo run --release -p reverie-agent --example state_bench [DIRECTORY] [CALLERS] [SECONDS] [ROWS]`

#![expect(clippy::unwrap_used, reason = "a measuring program ends at the first error")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reverie_agent::keeper::state::{AuditOptions, CertificateKind, Change, IssuedRecord, Options, State, Table, Write};
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::Serial;
use reverie_core::caller::Pinning;
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn now() -> Moment {
    time::OffsetDateTime::now_utc().into()
}

fn event(identity: &str, serial: Option<Serial>) -> Event {
    Event {
        time: now(),
        kind: Kind::CertificateIssued,
        outcome: Outcome::Done,
        actor: Actor::Process {
            pid: 4711,
            uid: 1000,
            gid: 1000,
            exe: Some("/usr/sbin/nginx".into()),
            unit: Some("nginx.service".into()),
            pinning: Pinning::Pidfd,
            token: None,
        },
        subject: Subject {
            identity: Some(identity.to_owned()),
            spiffe_id: Some(format!("spiffe://example.org/{identity}")),
            serial: serial.map(|serial| serial.to_string()),
            ..Subject::default()
        },
        reason: None,
    }
}

fn put() -> Change {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) % 1000;
    let key = format!("identity-{number}");
    let events = vec![event(&key, None)];
    Change { writes: vec![Write::Put { table: Table::Identities, key, value: Zeroizing::new(vec![7; 200]) }], events }
}

fn issue() -> Change {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    let (identity, now) = (format!("identity-{}", number % 100), now());
    let record = IssuedRecord {
        serial: Serial::at(now, random),
        kind: CertificateKind::Leaf,
        identity: identity.parse().unwrap(),
        spiffe_id: format!("spiffe://example.org/{identity}").parse().unwrap(),
        issuer: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        not_before: now.truncated_to_secs(),
        not_after: now.after(Duration::from_secs(3600)).truncated_to_secs(),
        revoked_at: None,
    };
    Change { events: vec![event(&identity, Some(record.serial))], writes: vec![Write::Issued(record)] }
}

/// CPU seconds of a thread of this process, by its name.
fn cpu(thread: &str) -> f64 {
    let mut ticks = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if std::fs::read_to_string(path.join("comm")).unwrap().trim() == thread {
            let stat = std::fs::read_to_string(path.join("stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            ticks += fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        }
    }
    ticks / 100.0
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / (1 << 20) as f64
}

async fn load(what: &str, state: &State, callers: usize, time: Duration, make: fn() -> Change) {
    let (writer, follower, start) = (cpu("state-writer"), cpu("state-follower"), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let state = state.clone();
            tokio::spawn(async move {
                let mut waits = vec![];
                while start.elapsed() < time {
                    let from = Instant::now();
                    state.commit(make()).await.unwrap();
                    waits.push(from.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = vec![];
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    waits.sort();
    let (count, seconds) = (waits.len() as f64, start.elapsed().as_secs_f64());
    println!(
        "{what:<10} {callers:>4} callers {:>8.0}/s  p50 {:>7.0} µs  p99 {:>7.0} µs  writer {:>5.1} µs CPU each  follower {:>4.1} µs  RSS {:.0} MiB",
        count / seconds,
        waits[waits.len() / 2].as_secs_f64() * 1e6,
        waits[waits.len() * 99 / 100].as_secs_f64() * 1e6,
        (cpu("state-writer") - writer) / count * 1e6,
        (cpu("state-follower") - follower) / count * 1e6,
        resident_mib(),
    );
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what:<60} {:>9.2} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

fn open(directory: &Path) -> State {
    let audit = AuditOptions { rotate_bytes: 64 << 20, keep: 4, admin_gid: None };
    State::open(Options { directory: directory.to_owned(), audit, now: now() }, &Zeroizing::new([1; 32])).unwrap()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (callers, seconds, rows) = (number(64), number(5), number(300_000));
    let directory = tempfile::tempdir_in(directory).unwrap();
    let path = directory.path().join("state");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let state = timed("found", || open(&path));
    let time = Duration::from_secs(seconds as u64);
    for callers in [1, callers] {
        runtime.block_on(load("put", &state, callers, time, put));
        runtime.block_on(load("issue", &state, callers, time, issue));
    }
    while (state.issued_count().unwrap() as usize) < rows {
        runtime.block_on(load("fill", &state, callers, time, issue));
    }
    runtime.block_on(load("issue", &state, callers, time, issue));
    println!(
        "{} certificates, store {} MiB",
        state.issued_count().unwrap(),
        path.join("store.redb").metadata().unwrap().len() >> 20
    );
    let (newest, _) = timed("newest 1000", || state.issued_newest(now(), 1000).unwrap());
    timed("certificates of one identity", || state.in_force(&newest[0].identity, now(), usize::MAX).unwrap().0.len());
    timed("one by serial", || state.issued(newest[500].serial).unwrap().unwrap());
    timed("revoke 1000, each durable, one after the other", || {
        for record in &newest {
            let writes = vec![Write::Revoked { serial: record.serial, at: now() }];
            state.commit_blocking(Change { writes, events: vec![event("x", Some(record.serial))] }).unwrap();
        }
    });
    timed("revocation list of 1000", || state.revoked_of(&newest[0].issuer, now()).unwrap().len());
    timed("verify the audit log", || println!("{:?}", state.audit_verify().unwrap().0));
    timed("close", || state.close());
    let state = timed("open", || open(&path));
    println!("after opening: RSS {:.0} MiB, alarms {:?}", resident_mib(), state.alarms());
    let later = now().after(Duration::from_secs(7200));
    let pruned = timed("prune all", || {
        std::iter::repeat_with(|| runtime.block_on(state.prune_issued(later)).unwrap())
            .take_while(|pruned| *pruned > 0)
            .sum::<usize>()
    });
    println!("pruned {pruned}");
}
