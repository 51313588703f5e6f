//! kill -9 at any moment.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use reverie_core::mesh::record::Record;

use super::*;

const CHILD: &str = "REVERIE_TEST_MESH_DIRECTORY";
const NAME: &str = "keeper::mesh::tests::crash::kill_9_loses_no_acknowledged_record_and_never_reuses_a_position";

/// The member takes what the founder (beside it) writes, and writes itself, without end; it prints what is acknowledged.
async fn merge_and_write_forever(directory: &Path) {
    let member = Agent::open(&directory.join("b"), "b").await;
    let records = std::fs::read(directory.join("records")).unwrap();
    let records: Vec<Vec<u8>> = serde_json::from_slice(&records).unwrap();
    for page in records.chunks(3).cycle() {
        let request = Request::Merge { from: node("a"), records: page.to_vec(), vector: VersionVector::default(), more: None };
        let Reply::Merged(merged) = answer(&member, request).await else { continue };
        let mut out = std::io::stdout();
        writeln!(out, "heard {}", serde_json::to_string(&merged.vector.get(&node("a"))).unwrap()).unwrap();
        let said = super::super::keys::own_record(&member, &member.mesh.keys().unwrap().current).unwrap();
        write(&member, vec![said], Change::default()).await.unwrap();
        let (own, _, _) = member.mesh.records(&VersionVector::default(), 4 << 20);
        for record in own.iter().map(|record| Record::from_bytes(record).unwrap()).filter(|r| r.statement.author == node("b")) {
            let statement = &record.statement;
            let hash = data_encoding::HEXLOWER.encode(&statement.hash());
            writeln!(out, "said {} {} {hash}", statement.position.epoch, statement.position.seq).unwrap();
        }
    }
}

#[test]
fn kill_9_loses_no_acknowledged_record_and_never_reuses_a_position() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(directory) = std::env::var_os(CHILD) {
        runtime.block_on(merge_and_write_forever(Path::new(&directory)));
    }
    let directory = runtime.block_on(async {
        let (directory, founder, member) = two().await;
        for number in 0..60 {
            founder.put_client(&format!("app{number}")).await;
        }
        let (records, _, _) = founder.mesh.records(&member.mesh.vector(), 4 << 20);
        std::fs::write(directory.path().join("records"), serde_json::to_vec(&records).unwrap()).unwrap();
        member.close().await;
        directory
    });
    let mut heard = reverie_core::mesh::vector::Position::default();
    let mut said: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for round in 0..15u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (begun, begins) = std::sync::mpsc::channel();
        // At odd times after its first word, however slow the machine; now and then while it opens.
        let patience = if round % 5 == 4 { Duration::from_millis(20 * round) } else { Duration::from_secs(60) };
        let killer = std::thread::spawn(move || {
            let _ = begins.recv_timeout(patience);
            std::thread::sleep(Duration::from_micros(round * 7_919 % 150_000));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for line in lines.by_ref().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] == "heard" {
                let _ = begun.send(());
            }
            match words[..] {
                ["heard", position] => {
                    // The last line may be torn.
                    heard = serde_json::from_str(position).map_or(heard, |position| heard.max(position));
                }
                ["said", epoch, seq, hash] if hash.len() == 64 => {
                    let at = (epoch.parse().unwrap(), seq.parse().unwrap());
                    let before = said.insert(at, hash.to_owned());
                    assert!(before.is_none_or(|before| before == hash), "round {round}: {at:?} was used twice");
                }
                _ => {}
            }
        }
        killer.join().unwrap();
        runtime.block_on(async {
            let member = Agent::open(&directory.path().join("b"), "b").await;
            assert!(member.mesh.vector().get(&node("a")) >= heard, "round {round}: an acknowledged record is lost");
            let last = said.keys().max().copied().unwrap_or_default();
            let own = member.mesh.vector().get(&node("b"));
            assert!((own.epoch, own.seq) >= last, "round {round}: a record of its own is lost");
            assert_eq!(member.mesh.state().as_str(), "member", "round {round}");
            member.close().await;
        });
    }
    assert!(said.len() > 10, "only {} records were written", said.len());
}
