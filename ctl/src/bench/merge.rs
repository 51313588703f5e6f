//! `bench merge`: records into a set, against the checks of their signatures alone.

use std::hint::black_box;
use std::time::Instant;

use reverie_core::id::NodeId;
use reverie_core::mesh::author::Author;
use reverie_core::mesh::collection::{Admission, Collection, Standing, key};
use reverie_core::mesh::crypto::{PublicOperations, Signer, SigningPublicKey};
use reverie_core::mesh::record::{CONTEXT, Fields, Parsed, Verified};
use reverie_core::mesh::set::{Anchor, Keys, Limits, Refusal, Set};
use reverie_core::mesh::view::View;
use reverie_core::moment::Moment;
use reverie_crypto::aws::{Aws, SigningKey};
use serde::Serialize;

use super::rounded;
use crate::cli::Session;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{Table, counted};

/// Hosts that wrote the records.
const HOSTS: usize = 16;
/// Records of one message, about 1 MiB.
const MESSAGE: usize = 4_000;

#[derive(Serialize)]
struct Report {
    compared: &'static str,
    records: usize,
    bytes: usize,
    processors: usize,
    /// Everything is then slow, and taking more so than checking.
    debug_build: bool,
    /// Reading and taking records that were verified before, as at a start from the store.
    load_ms: f64,
    /// The same without reading them: verified records, as they come out of the check of their signatures.
    take_ms: f64,
    take_ns_each: f64,
    /// What the set added to the resident memory.
    memory_mib: f64,
    /// Parsing, verifying and taking on all processors, as a new host does.
    join_ms: f64,
    /// The checks of the same signatures alone, on all processors.
    checks_ms: f64,
    ratio_join: f64,
    /// One more record into sets of growing size, and a look at the view.
    curve: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    records: usize,
    take_us: f64,
    /// Counts of the view and the value under the key.
    look_us: f64,
    /// The digest, of which this one author's part changed.
    digest_us: f64,
}

pub(crate) fn run(session: &Session, records: usize) -> Outcome {
    session.screen.note(format_args!("signing {records} records …"));
    if cfg!(debug_assertions) {
        session.screen.note("This agentctl is a debug build: taking records is slow, checking signatures is not.");
    }
    let world = World::new(records)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);

    let before = resident_kib();
    let begun = Instant::now();
    let mut set = world.empty();
    let loaded = set.load_quietly(&world.records);
    let load = begun.elapsed();
    let memory_mib = resident_kib().saturating_sub(before) as f64 / 1024.0;
    if loaded != world.records.len() {
        return Err(broken("the set did not take all records"));
    }

    // In turns, the better of three each: noise only ever adds.
    let (mut take, mut join, mut checks) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..3 {
        let verified = world.records.iter().filter_map(|record| Parsed::new(record).ok()).map(Parsed::trusted);
        let (verified, mut new): (Vec<_>, _) = (verified.collect(), world.empty());
        let begun = Instant::now();
        for record in verified {
            new.take(record);
        }
        take = take.min(begun.elapsed().as_secs_f64() * 1000.0);
        if new.digest() != set.digest() {
            return Err(broken("the set differs"));
        }
        drop(new);
        let begun = Instant::now();
        let mut new = world.empty();
        for message in world.records.chunks(MESSAGE) {
            new.merge_with(message, |keys, parsed| verify(keys, parsed, processors));
        }
        join = join.min(begun.elapsed().as_secs_f64() * 1000.0);
        if new.digest() != set.digest() {
            return Err(broken("the new host's set differs"));
        }
        let begun = Instant::now();
        world.check(processors)?;
        checks = checks.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    drop(set);

    let sizes = [10, 1_000, 100_000].into_iter().filter(|size| *size < records).chain([records]);
    let curve = sizes.map(|size| world.point(size)).collect::<Result<_, _>>()?;
    let report = Report {
        compared: "parsing, verifying and taking with the checks of the same signatures alone, both on all processors",
        records: world.records.len(),
        bytes: world.records.iter().map(Vec::len).sum(),
        processors,
        debug_build: cfg!(debug_assertions),
        load_ms: rounded(load.as_secs_f64() * 1000.0),
        take_ms: rounded(take),
        take_ns_each: (take * 1e6 / world.records.len() as f64).round(),
        memory_mib: rounded(memory_mib),
        join_ms: rounded(join),
        checks_ms: rounded(checks),
        ratio_join: rounded(join / checks.max(0.001)),
        curve,
    };
    session.screen.show(&report, people)
}

fn people(report: &Report) -> String {
    let mut table = Table::new(["RECORDS", "TAKE ONE µs", "LOOK µs", "DIGEST µs"], "");
    for point in &report.curve {
        let cell = |micros: f64| format!("{micros:.1}");
        table.row([point.records.to_string(), cell(point.take_us), cell(point.look_us), cell(point.digest_us)]);
    }
    format!(
        "{}, {} bytes, already verified: taken in {:.0} ms, {:.0} ns each; read and taken in {:.0} ms; {:.1} MiB of memory\n\
         to a new host: {:.0} ms; the checks of the signatures alone: {:.0} ms; ratio {:.2}, {}\n\n{}",
        counted(report.records as u64, "record", "records"),
        report.bytes,
        report.take_ms,
        report.take_ns_each,
        report.load_ms,
        report.memory_mib,
        report.join_ms,
        report.checks_ms,
        report.ratio_join,
        counted(report.processors as u64, "processor", "processors"),
        table.render(),
    )
}

fn broken(what: &str) -> Failure {
    Failure::new(Exit::Internal, what)
}

/// Resident memory of this process, KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse().ok()).unwrap_or(0)
}

/// On all processors: each takes a share, and the answers keep their order.
fn verify(keys: &Keys, parsed: Vec<Parsed>, processors: usize) -> Vec<Result<Verified, Refusal>> {
    let share = parsed.len().div_ceil(processors).max(1);
    let mut parsed = parsed;
    let mut shares = Vec::new();
    while !parsed.is_empty() {
        let rest = parsed.split_off(share.min(parsed.len()));
        shares.push(std::mem::replace(&mut parsed, rest));
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(|record| keys.verify(record, &Aws)).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

trait LoadQuietly {
    fn load_quietly(&mut self, records: &[Vec<u8>]) -> usize;
}

impl LoadQuietly for Set {
    /// As the keeper does at its start: nothing is kept but the set. How many stand.
    fn load_quietly(&mut self, records: &[Vec<u8>]) -> usize {
        for record in records {
            if let Ok(parsed) = Parsed::new(record) {
                self.take(parsed.trusted());
            }
        }
        self.len()
    }
}

struct World {
    anchor: Anchor,
    records: Vec<Vec<u8>>,
    keys: Vec<SigningPublicKey>,
    founder: SigningKey,
}

const NOW: Moment = Moment::from_secs(1_800_000_000);

fn node(number: usize) -> Result<NodeId, Failure> {
    format!("h{number}.bench.example").parse().map_err(|_| broken("a bad name"))
}

impl World {
    /// Admissions first; then lockouts, each host its own, in the order of their positions.
    fn new(records: usize) -> Result<Self, Failure> {
        let failed = |_| broken("no key could be made");
        let signers: Vec<SigningKey> = (0..HOSTS).map(|_| SigningKey::generate()).collect::<Result<_, _>>().map_err(failed)?;
        let keys: Vec<_> = signers.iter().map(|signer| signer.public_key().clone()).collect();
        let anchor = Anchor { node: node(0)?, key: keys[0].clone() };
        let nothing = Set::new(anchor.clone(), Limits::default());
        let mut founder = Author::start(node(0)?, &nothing, NOW);
        let mut all = Vec::with_capacity(records);
        for (number, signing_key) in keys.iter().enumerate() {
            let standing = if number == 0 { Standing::Authority } else { Standing::Member };
            let by = "token".to_owned();
            let admission = Admission {
                node: node(number)?,
                signing_key: signing_key.clone(),
                kem_key: None,
                standing,
                by,
                despite: Default::default(),
            };
            let name = key::admission(&admission.node, &signing_key.kid());
            let value = minicbor::to_vec(&admission).map_err(|_| broken("a bad value"))?;
            let record = founder.write(Collection::Admissions, &name, Some(value), NOW, &signers[0]);
            all.push(record.map_err(|why| broken(&why.to_string()))?.to_bytes());
        }
        let each = records.saturating_sub(HOSTS).div_ceil(HOSTS);
        let (nothing, signers_of) = (&nothing, &signers);
        let written: Vec<Result<Vec<Vec<u8>>, Failure>> = std::thread::scope(|scope| {
            let write = |number: usize, mut author: Author| {
                scope.spawn(move || {
                    let lockout = |i: usize| {
                        let name = key::lockout(&format!("user{i}"), author.node());
                        let value = [&[0x58, 40][..], &[i as u8; 40]].concat();
                        let record = author.write(Collection::Lockouts, &name, Some(value), NOW, &signers_of[number]);
                        record.map(|record| record.to_bytes()).map_err(|why| broken(&why.to_string()))
                    };
                    (0..each).map(lockout).collect()
                })
            };
            let mut threads = vec![write(0, founder)];
            for number in 1..HOSTS {
                match node(number) {
                    Ok(name) => threads.push(write(number, Author::start(name, nothing, NOW))),
                    Err(why) => return vec![Err(why)],
                }
            }
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(broken("a thread ended")))).collect()
        });
        for written in written {
            all.extend(written?);
        }
        all.truncate(records.max(HOSTS));
        let [founder, ..] = <[SigningKey; HOSTS]>::try_from(signers).map_err(|_| broken("too few keys"))?;
        Ok(Self { anchor, records: all, keys, founder })
    }

    fn empty(&self) -> Set {
        Set::new(self.anchor.clone(), Limits::default())
    }

    /// The checks of all signatures and nothing else.
    fn check(&self, processors: usize) -> Result<(), Failure> {
        let signed: Vec<(usize, Vec<u8>, [u8; 64])> = self
            .records
            .iter()
            .filter_map(|record| {
                let fields = Fields::read(record).ok()?;
                let key = self.keys.iter().position(|key| key.kid() == fields.kid)?;
                Some((key, [CONTEXT, fields.statement].concat(), *fields.signature))
            })
            .collect();
        let share = signed.len().div_ceil(processors).max(1);
        let good = std::thread::scope(|scope| {
            let check = |share: &[(usize, Vec<u8>, [u8; 64])]| {
                share.iter().filter(|(key, message, signature)| Aws.verify(&self.keys[*key], message, signature).is_ok()).count()
            };
            let threads: Vec<_> = signed.chunks(share).map(|share| scope.spawn(move || check(share))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<usize>()
        });
        if good == self.records.len() { Ok(()) } else { Err(broken("a signature does not fit")) }
    }

    /// One more record, 200 times, into a set of `size`.
    fn point(&self, size: usize) -> Result<Point, Failure> {
        const TIMES: u32 = 200;
        let mut set = self.empty();
        set.load_quietly(&self.records[..size.min(self.records.len())]);
        let mut author = Author::start(node(0)?, &set, NOW);
        let mut more = Vec::new();
        for i in 0..TIMES {
            let record = author.write(Collection::Clients, &format!("client{}", i % 50), Some(vec![0xa0]), NOW, &self.founder);
            let bytes = record.map_err(|why| broken(&why.to_string()))?.to_bytes();
            more.push(Parsed::new(&bytes).map_err(|why| broken(&why.to_string()))?.trusted());
        }
        // What is concluded once is concluded before.
        black_box((View::of(&set, NOW).counts(), set.digest()));
        let [mut take, mut look, mut digest] = [0.0; 3];
        for (i, record) in more.into_iter().enumerate() {
            let begun = Instant::now();
            black_box(set.take(record));
            take += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let view = View::of(&set, NOW);
            black_box((view.counts(), view.get(Collection::Clients, &format!("client{}", i % 50))));
            look += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            black_box(set.digest());
            digest += begun.elapsed().as_secs_f64();
        }
        let micros = |seconds: f64| rounded(seconds * 1e6 / f64::from(TIMES));
        Ok(Point { records: size, take_us: micros(take), look_us: micros(look), digest_us: micros(digest) })
    }
}
