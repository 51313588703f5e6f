//! Sealing and opening one gossip message against the sum of its primitives, the second backend beside it.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use reverie_core::id::NodeId;
use reverie_core::mesh::crypto::{CryptoFailure, Decapsulator, PublicOperations, Signer};
use reverie_core::mesh::envelope::{content_key, parse, seal, signed_attributes};
use reverie_core::mesh::message::{Content, Expected, Message, Sync};
use reverie_core::moment::Moment;
use reverie_crypto::aws::{self, Aws};
use reverie_crypto::pure::{self, Pure};
use serde::Serialize;

use super::figures::{Figures, HEADINGS, Times};
use super::{announce, rounded, turns};
use crate::cli::Session;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{Table, counted};

const SIZES: [usize; 3] = [256, 64 << 10, 1 << 20];
const NOW: Moment = Moment::from_secs(1_800_000_000);

/// What is printed.
#[derive(Serialize)]
struct Report {
    compared: String,
    turns: u32,
    debug_build: bool,
    sizes: Vec<Size>,
}

#[derive(Serialize)]
struct Size {
    /// Of the records in the message.
    bytes: usize,
    envelope: Figures,
    primitives: Figures,
    pure: Figures,
    /// Envelope to primitives, medians.
    ratio_p50: f64,
    /// The same turn by turn, least and most.
    ratio_spread: [f64; 2],
}

/// Two hosts that share a process.
struct Hosts<'a> {
    ops: &'a dyn PublicOperations,
    signer: Box<dyn Signer>,
    kem: Box<dyn Decapsulator>,
}

pub(crate) fn run(session: &Session, seconds: u64) -> Outcome {
    let failed = |CryptoFailure| Failure::new(Exit::Internal, "a cryptographic operation failed");
    let second = Pure::from_seed([1; 32]);
    let aws = Hosts {
        ops: &Aws,
        signer: Box::new(aws::SigningKey::generate().map_err(failed)?),
        kem: Box::new(aws::KemKey::generate().map_err(failed)?),
    };
    let pure = Hosts {
        ops: &second,
        signer: Box::new(pure::SigningKey::generate(&second).map_err(failed)?),
        kem: Box::new(pure::KemKey::generate(&second)),
    };
    let sides = u32::try_from(3 * SIZES.len()).unwrap_or(9);
    let (count, span) = turns(seconds, sides);
    announce(session, count, span);
    let mut sizes = vec![];
    for bytes in SIZES {
        let message = message(bytes)?;
        let packed = message.pack().map_err(|why| Failure::new(Exit::Internal, why))?;
        let cbor = unpacked(&packed)?;
        let [mut envelope, mut primitives, mut other] = [(); 3].map(|()| Times::default());
        // The first turn warms up and is not counted.
        for number in 0..=count {
            let turns = [
                turn(span, || exchange(&aws, &message))?,
                turn(span, || bare(&aws, &cbor))?,
                turn(span, || exchange(&pure, &message))?,
            ];
            for (times, (turn, elapsed)) in [&mut envelope, &mut primitives, &mut other].into_iter().zip(turns) {
                if number > 0 {
                    times.add(turn, elapsed);
                }
            }
        }
        let (a, b) = (envelope.figures(), primitives.figures());
        sizes.push(Size {
            bytes,
            ratio_p50: rounded(a.p50_us / b.p50_us.max(0.001)),
            ratio_spread: envelope.spread(&primitives),
            envelope: a,
            primitives: b,
            pure: other.figures(),
        });
    }
    let compared = "packing, sealing, verifying, opening and reading a message of records with its primitives alone, by aws-lc \
                    and zstd: compress, random, ML-KEM-768 encapsulate, HKDF, AES key wrap, AES-256-CBC, SHA-256, ECDSA sign, and \
                    their reverse; both keys in this process"
        .to_owned();
    let report = Report { compared, turns: count, debug_build: cfg!(debug_assertions), sizes };
    session.screen.show(&report, render)
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    for Size { bytes, envelope, primitives, pure, ratio_p50, ratio_spread: [low, high] } in &report.sizes {
        let mut table = Table::new(HEADINGS, "");
        table.row(envelope.row("seal and open"));
        table.row(primitives.row("primitives"));
        table.row(pure.row("by RustCrypto"));
        text += &format!("{} of records\n{}", counted(*bytes as u64, "byte", "bytes"), table.render());
        text += &format!("seal and open / primitives, p50: {ratio_p50:.2} ({low:.2} to {high:.2} over the turns)\n\n");
    }
    text + &format!("Compared: {}.\n", report.compared)
}

/// Records as they are: half of one is hashes and signatures, which do not compress.
fn message(bytes: usize) -> Result<Message, Failure> {
    let name = |name: &str| name.parse::<NodeId>().map_err(|why| Failure::new(Exit::Internal, why));
    let random = Pure::from_seed([2; 32]);
    let mut records = vec![];
    let mut left = bytes;
    while left > 0 {
        let mut record = vec![b'r'; left.min(256)];
        let half = record.len() / 2;
        random.random(&mut record[..half]).map_err(|CryptoFailure| Failure::new(Exit::Internal, "no randomness"))?;
        left -= record.len();
        records.push(record);
    }
    Ok(Message {
        version: 1,
        mesh: [1; 16],
        sender: name("a.bench.internal")?,
        recipient: name("b.bench.internal")?,
        epoch: 1,
        nonce: [2; 16],
        in_reply_to: None,
        issued_at: NOW,
        content: Content::Sync(Sync { records, ..Sync::default() }),
    })
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, Failure> {
    zstd::bulk::decompress(packed, 4 << 20).map_err(|error| Failure::new(Exit::Internal, error))
}

/// The whole way of one message. `None` if it does not arrive.
fn exchange(hosts: &Hosts<'_>, message: &Message) -> Option<()> {
    let packed = message.pack().ok()?;
    let sealed = seal(hosts.ops, &*hosts.signer, hosts.kem.public_key(), &packed).ok()?;
    let verified = parse(&sealed, 4 << 20).ok()?.verify(hosts.ops, hosts.signer.public_key()).ok()?;
    let key = content_key(hosts.ops, &*hosts.kem, verified.kem_ciphertext(), verified.wrapped_key()).ok()?;
    let plaintext = verified.open(hosts.ops, &key).ok()?;
    let expected = Expected {
        mesh: Some(&message.mesh),
        sender: Some(&message.sender),
        recipient: &message.recipient,
        in_reply_to: None,
        newest_wire: message.version,
    };
    let read = Message::unpack(&plaintext, &expected, NOW).ok()?;
    (read.nonce == message.nonce).then_some(())
}

/// The same primitives on the same amount of bytes, and nothing between them.
fn bare(hosts: &Hosts<'_>, cbor: &[u8]) -> Option<()> {
    let ops = hosts.ops;
    let packed = zstd::bulk::compress(cbor, 1).ok()?;
    let (mut key, mut iv) = ([0; 32], [0; 16]);
    ops.random(&mut key).ok()?;
    ops.random(&mut iv).ok()?;
    let (ciphertext, secret) = ops.encapsulate(hosts.kem.public_key()).ok()?;
    let wrapped = ops.wrap(&*ops.hkdf(&secret, &[0; 18]).ok()?, &key).ok()?;
    let content = ops.encrypt(&key, &iv, &packed).ok()?;
    let hash: [u8; 32] = digest(&SHA256, &content).as_ref().try_into().ok()?;
    let attributes = signed_attributes(&hash);
    let signature = hosts.signer.sign_der(&attributes).ok()?;

    std::hint::black_box(digest(&SHA256, &content));
    ops.verify_der(hosts.signer.public_key(), &attributes, &signature).ok()?;
    let secret = hosts.kem.decapsulate(&ciphertext).ok()?;
    let key = ops.unwrap(&*ops.hkdf(&secret, &[0; 18]).ok()?, &wrapped).ok()?;
    let packed = ops.decrypt(&key, &iv, &content).ok()?;
    let plain = zstd::bulk::decompress(&packed, cbor.len()).ok()?;
    (plain.len() == cbor.len()).then_some(())
}

/// Times in nanoseconds.
fn turn(length: Duration, mut act: impl FnMut() -> Option<()>) -> Result<(Vec<u64>, Duration), Failure> {
    let start = Instant::now();
    let mut times = vec![];
    while start.elapsed() < length {
        let begin = Instant::now();
        act().ok_or_else(|| Failure::new(Exit::Internal, "a message did not arrive"))?;
        times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok((times, start.elapsed()))
}
