//! kill -9 at any moment.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const CHILD: &str = "REVERIE_TEST_STATE_DIRECTORY";
const ROUNDS: &str = "REVERIE_TEST_KILL_ROUNDS";

fn options(directory: PathBuf) -> Options {
    // Small files, few kept: rotation and clearing away are interrupted too.
    let audit = AuditOptions { rotate_bytes: 20_000, keep: 3, admin_gid: None };
    Options { directory, audit, now: Moment::from_secs(0) }
}

/// Commits without end and prints each number that is durable.
fn commit_forever(directory: PathBuf) -> ! {
    let state = State::open(options(directory), &root()).unwrap();
    let first = state.audit_head().seq + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let mut lanes = vec![];
        for lane in 0..8 {
            let state = state.clone();
            lanes.push(tokio::spawn(async move {
                for number in (first + lane..).step_by(8) {
                    state.commit(put(number)).await.unwrap();
                    writeln!(std::io::stdout(), "durable {number}").unwrap();
                }
            }));
        }
        for lane in lanes {
            lane.await.unwrap();
        }
    });
    unreachable!("the lanes do not end");
}

#[test]
fn no_acknowledged_change_is_lost_by_kill_9() {
    if let Some(directory) = std::env::var_os(CHILD) {
        commit_forever(directory.into());
    }
    let rounds: u64 = std::env::var(ROUNDS).map_or(100, |rounds| rounds.parse().unwrap());
    let place = Place::new();
    let mut durable: std::collections::BTreeSet<u64> = std::collections::BTreeSet::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keeper::state::tests::kill::no_acknowledged_change_is_lost_by_kill_9", "--nocapture"])
            .env(CHILD, &place.options.directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Odd times, so that over the rounds every step is met; also during the opening.
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(2_000 + round * 7_919 % 150_000));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let numbers = |line: std::io::Result<String>| line.ok()?.strip_prefix("durable ")?.parse::<u64>().ok();
        durable.extend(lines.by_ref().filter_map(numbers));
        killer.join().unwrap();
        if round % 10 == 9 || round + 1 == rounds {
            check(&place, &durable, round);
        }
    }
    assert!(durable.len() > 100, "only {} changes were made", durable.len());
}

fn check(place: &Place, durable: &std::collections::BTreeSet<u64>, round: u64) {
    let state = State::open(options(place.options.directory.clone()), &root()).unwrap();
    for number in durable {
        assert!(has(&state, *number), "round {round}: {number} is lost");
    }
    assert!(state.audit_head().seq >= durable.len() as u64, "round {round}");
    let (report, _) = state.audit_verify().unwrap();
    assert_eq!((report.faults, report.head), (vec![], state.audit_head()), "round {round}");
    assert_eq!(state.alarms(), [], "round {round}");
    state.close();
}
