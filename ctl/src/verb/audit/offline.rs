//! `audit verify`: by the agent, or of files without it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reverie_core::api::Operation;
use reverie_core::api::admin::AuditVerdict;
use reverie_core::audit::{ChainHead, Line, Report, SignedHead, Verifier};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{GREEN, RED, RESET, counted, date, plain};

/// A longer line is no event.
const MAX_LINE: usize = 1 << 20;
/// More signed heads are not kept in memory.
const MAX_HEADS: usize = 1_000_000;

/// The agent checks its own log.
pub(super) async fn ask(session: &Session) -> Outcome {
    let verdict: AuditVerdict = session.client.call(Call::of(Operation::AuditVerify)).await?;
    session.screen.show(&verdict, |verdict| {
        let signed = match &verdict.signed {
            Some(SignedHead { head, time, .. }) => format!("signed up to event {} at {}\n", head.seq, date(*time)),
            None => "no head was signed yet\n".to_owned(),
        };
        render(&verdict.report) + &signed
    })?;
    Ok(exit_code(&verdict.report))
}

/// Files, against each other and the signed heads.
pub(super) fn verify(
    session: &Session,
    files: &[PathBuf],
    public_key: Option<&Path>,
    heads: Option<&Path>,
    partial: bool,
) -> Outcome {
    let heads = match (public_key, heads) {
        (Some(key), Some(heads)) => read_heads(heads, &read_key(key)?)?,
        (Some(_), None) => {
            let what = "--public-key checks signed heads, and none were given";
            return Err(Failure::new(Exit::Usage, what).advise("add --heads FILE: the agent keeps heads.jsonl beside its log"));
        }
        _ => vec![],
    };
    let signed = heads.len();
    let mut verifier: Option<Verifier> = None;
    let mut believed = None;
    for path in files {
        for_each_line(path, |text| match &mut verifier {
            Some(verifier) => verifier.line(text),
            None => {
                let start = if partial { before(text, &heads) } else { Start::Nothing };
                let (head, take) = match start {
                    Start::Nothing => (ChainHead::default(), true),
                    Start::After(head) => (head, true),
                    Start::With(head) => (head, false),
                };
                let mut first = Verifier::new(head, heads.clone());
                if take {
                    first.line(text);
                } else {
                    believed = Some(head.seq);
                }
                verifier = Some(first);
            }
        })?;
    }
    let report = verifier.unwrap_or_else(|| Verifier::new(ChainHead::default(), heads)).finish();
    session.screen.show(&report, |report| {
        let mut text = render(report);
        if let Some(seq) = believed {
            text += &format!("Event {seq}, the first, was taken on trust.\n");
        }
        text + &match signed {
            0 => "No signed heads were given: whoever can rewrite the whole log goes unseen.\n".to_owned(),
            count => format!("checked against {}\n", counted(count as u64, "signed head", "signed heads")),
        }
    })?;
    Ok(exit_code(&report))
}

/// Where a chain that does not begin at 1 is taken up.
enum Start {
    Nothing,
    /// A signed head vouches for what came before.
    After(ChainHead),
    /// The first line itself is believed.
    With(ChainHead),
}

fn before(first: &str, heads: &[ChainHead]) -> Start {
    let Ok(line) = Line::parse(first) else { return Start::Nothing };
    let Ok((seq, _)) = line.event() else { return Start::Nothing };
    // What a signed head contradicts is not believed.
    let contradicted = heads.iter().any(|head| head.seq == seq && head.hash != line.hash);
    match (seq, heads.iter().find(|head| head.seq + 1 == seq)) {
        _ if contradicted => Start::Nothing,
        (0 | 1, _) => Start::Nothing,
        (_, Some(head)) => Start::After(*head),
        (_, None) => Start::With(ChainHead { seq, hash: line.hash }),
    }
}

fn exit_code(report: &Report) -> u8 {
    if report.is_whole() { 0 } else { Exit::Data as u8 }
}

fn render(report: &Report) -> String {
    let Report { events, first, head, faults } = report;
    let range = if *events == 0 {
        "no events".to_owned()
    } else {
        format!("{}, {first} to {}", counted(*events, "event", "events"), head.seq)
    };
    let mut text = match faults.is_empty() {
        true => format!("{GREEN}whole{RESET}: {range}, head {}\n", head.hash),
        false => format!("{RED}damaged{RESET}: {range}\n"),
    };
    text.extend(faults.iter().map(|fault| format!("  {}\n", plain(&fault.to_string()))));
    if faults.len() >= Report::MAX_FAULTS {
        text += "  … and perhaps more\n";
    }
    text
}

fn read_key(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = vec![];
    let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
    file.take(64 << 10).read_to_end(&mut text).map_err(|error| Failure::reading(path, &error))?;
    match pem::parse(&text) {
        Ok(block) if block.tag() == "PUBLIC KEY" => Ok(block.into_contents()),
        _ => Err(Failure::new(Exit::Data, format_args!("{} is not a public key in PEM", path.display()))
            .advise("keep the `public_key` that `agentctl audit verify --json` prints")),
    }
}

fn read_heads(path: &Path, key: &[u8]) -> Result<Vec<ChainHead>, Failure> {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
    let mut heads = vec![];
    let (mut number, mut wrong) = (0, None);
    for_each_line(path, |text| {
        number += 1;
        let head = serde_json::from_str::<SignedHead>(text).ok().filter(|signed| {
            let message = SignedHead::signed_bytes(&signed.head, signed.time);
            STANDARD.decode(&signed.signature).is_ok_and(|signature| key.verify(&message, &signature).is_ok())
        });
        match head {
            Some(signed) if heads.len() < MAX_HEADS => heads.push(signed.head),
            Some(_) => {}
            None => drop(wrong.get_or_insert(number)),
        }
    })?;
    match wrong {
        None => Ok(heads),
        Some(number) => {
            Err(Failure::new(Exit::Data, format_args!("{}:{number}: the signature of this head is wrong", path.display()))
                .advise("use the public key of the host that wrote the log; if it is, the heads were tampered with"))
        }
    }
}

/// Every line without its newline; what is not UTF-8 is passed on damaged, and found so.
fn for_each_line(path: &Path, mut each: impl FnMut(&str)) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
    let mut reader = BufReader::new(file);
    let mut line = vec![];
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::reading(path, &error))? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        each(&String::from_utf8_lossy(&line));
    }
}
