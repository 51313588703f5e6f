//! How long the keeper waits for facts about a caller: `cargo run --release --example warden_round_trip`.
//!
//! Prints the median and the 99th percentile of one call at a time against a warden in a process of its own, beside
//! the same number of bare round trips over the same kind of socket.

#![forbid(unsafe_code)]

use std::error::Error;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reverie_agent::ops::channel::{Channel, spawn_role};
use reverie_agent::warden;
use reverie_core::ipc::warden::{Reply, Request};
use reverie_sys::{pidfd::PidFd, seqpacket};

const CALLS: usize = 20_000;
const WITHIN: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("--role") {
        return Ok(warden::run(warden::Options::new(PathBuf::from("/nonexistent")))?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure_calls())?;
    measure_bare()
}

async fn measure_calls() -> Result<(), Box<dyn Error>> {
    let channel =
        Channel::<Request, Reply>::connect(spawn_role::<&str>(&std::env::current_exe()?, "warden", &[])?, "warden").await?;
    let own = PidFd::open(i32::try_from(std::process::id())?)?;
    for (name, request) in [
        ("facts", Request::Facts { digest_exe: false }),
        ("facts with a known digest", Request::Facts { digest_exe: true }),
        ("still runs", Request::StillRuns { device: 0, inode: 0 }),
    ] {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let before = Instant::now();
            match channel.call(&request, Some(own.as_fd()), WITHIN).await? {
                Reply::Facts(_) | Reply::StillRuns(_) => times.push(before.elapsed()),
                other => return Err(format!("{other:?}").into()),
            }
        }
        report(name, times);
    }
    Ok(())
}

fn measure_bare() -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = seqpacket::pair()?;
    std::thread::spawn(move || {
        let mut receiver = seqpacket::Receiver::new(1024);
        while let Ok(Some(message)) = receiver.recv(&theirs) {
            if seqpacket::send(&theirs, &message.bytes, &[]).is_err() {
                break;
            }
        }
    });
    let mut receiver = seqpacket::Receiver::new(1024);
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let before = Instant::now();
        seqpacket::send(&ours, &[0; 64], &[])?;
        receiver.recv(&ours)?;
        times.push(before.elapsed());
    }
    report("bare echo, two threads", times);
    Ok(())
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{name:28} p50 {:>8.1?}  p99 {:>8.1?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
