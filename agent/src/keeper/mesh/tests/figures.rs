//! What taking many records costs beside its parts. Prints, and holds to nothing but that all are there: times depend on
//! the machine. `docs/performance.md` says how to run it with 100,000 in a release build.

use std::time::Instant;

use reverie_core::mesh::record::Parsed;

use super::*;
use crate::keeper::mesh::merging::verify_on_all_cores;
use crate::keeper::state::Write;

const COUNT: &str = "REVERIE_FIGURES_RECORDS";
const PAGE: usize = 1 << 20;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_records_are_taken_whole_and_what_it_costs_is_shown() {
    let count: usize = std::env::var(COUNT).map_or(3000, |count| count.parse().unwrap());
    let (directory, founder, member) = two().await;
    // Signed as the founder would, without its store.
    let ring = founder.mesh.keys().unwrap();
    let mut author = founder.mesh.read().core.as_ref().unwrap().author.clone();
    let records: Vec<Vec<u8>> = (0..count)
        .map(|number| {
            let value = minicbor::to_vec(Client { display_name: Some(format!("client number {number}")) }).unwrap();
            let key = format!("client-{number}");
            author.write(Collection::Clients, &key, Some(value), clock::now(), &ring.current.signing).unwrap().to_bytes()
        })
        .collect();
    let bytes: usize = records.iter().map(Vec::len).sum();

    let keys = member.mesh.read().core.as_ref().unwrap().set.keys().clone();
    let parsed: Vec<Parsed> = records.iter().map(|record| Parsed::new(record).unwrap()).collect();
    let begun = Instant::now();
    let verified = tokio::task::spawn_blocking(move || verify_on_all_cores(&keys, parsed)).await.unwrap();
    let checks = begun.elapsed();
    assert!(verified.iter().all(Result::is_ok));
    drop(verified);

    let state = State::open(options(directory.path().join("bare")), &Zeroizing::new([7; 32])).unwrap();
    let file: Vec<(u64, Vec<u8>)> = (0..).zip(records.iter().cloned()).collect();
    let begun = Instant::now();
    for part in file.chunks(50_000) {
        let write = Write::Records { file: part.to_vec(), drop: vec![] };
        state.commit(Change { writes: vec![write], events: vec![] }).await.unwrap();
    }
    let write = begun.elapsed();
    drop(file);
    tokio::task::spawn_blocking(move || state.close()).await.unwrap();

    let mut pages: Vec<Vec<Vec<u8>>> = vec![vec![]];
    let mut size = 0;
    for record in records {
        size += record.len();
        if size > PAGE {
            pages.push(vec![]);
            size = record.len();
        }
        pages.last_mut().unwrap().push(record);
    }
    let (before, begun) = (resident(), Instant::now());
    let mut taken = 0;
    for page in pages {
        taken += member.merge(&founder, page).await.taken as usize;
    }
    let all = begun.elapsed();
    let memory = resident().saturating_sub(before);
    assert_eq!(taken, count);
    let ratio = all.as_secs_f64() / (checks + write).as_secs_f64();
    println!(
        "{count} records, {} KiB: checks {checks:.0?}, one bulk write {write:.0?}, taken {all:.0?}: {ratio:.2} x",
        bytes >> 10
    );
    println!("resident memory {:.1} MiB more, with the pages freed as they are taken", memory as f64 / f64::from(1 << 20));

    let vector = member.mesh.vector();
    member.close().await;
    let begun = Instant::now();
    let member = Agent::open(&directory.path().join("b"), "b").await;
    println!("opened again in {:.0?}", begun.elapsed());
    assert_eq!(member.mesh.vector(), vector);
}
