//! What the line between net and keeper costs a message of the mesh: `cargo run --release --example keeper_round_trip`.
//!
//! Sealing asks the keeper for a signature, opening for the content key. Printed are both by the keys themselves, and both over
//! the channel to the process that holds them, one at a time.

#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_agent::ops::channel::{Answering, Channel, spawn_role, stdin_channel};
use reverie_core::ipc::net::{Reply, Request};
use reverie_core::mesh::crypto::{Decapsulator, KemCiphertext, Signer};
use reverie_core::mesh::envelope::{content_key, parse, seal};
use reverie_crypto::aws::{Aws, KemKey, SigningKey};

const CALLS: usize = 5_000;
const WITHIN: Duration = Duration::from_secs(5);

/// What the keeper holds.
struct Keys {
    signing: SigningKey,
    kem: KemKey,
}

impl Keys {
    fn answer(&self, request: &Request) -> Option<Reply> {
        match request {
            Request::SignEnvelope { digest } => {
                let attributes = reverie_core::mesh::envelope::signed_attributes(digest);
                self.signing.sign_der(&attributes).ok().map(Reply::Signature)
            }
            Request::OpenEnvelope { ciphertext, wrapped_key, .. } => {
                let (ciphertext, wrapped_key): (&KemCiphertext, _) =
                    (ciphertext.as_slice().try_into().ok()?, wrapped_key.as_slice().try_into().ok()?);
                content_key(&Aws, &self.kem, ciphertext, wrapped_key).ok().map(|key| Reply::ContentKey(*key))
            }
            _ => None,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("--role") {
        return ask().await;
    }
    let keys = Arc::new(Keys { signing: SigningKey::generate()?, kem: KemKey::generate()? });
    let questions = questions(&keys)?;
    for question in &questions {
        let mut times = vec![];
        for _ in 0..CALLS {
            let begun = Instant::now();
            keys.answer(question).ok_or("no answer")?;
            times.push(begun.elapsed());
        }
        report(question, "by the key itself", times);
    }
    let answering =
        Answering::<Request, Reply>::accept(spawn_role::<&str>(&std::env::current_exe()?, "net", &[])?, "net").await?;
    let questions = Arc::new(questions);
    answering
        .serve(16, move |request, _| {
            let (keys, questions) = (Arc::clone(&keys), Arc::clone(&questions));
            async move {
                let failed = Reply::Failed { message: "no answer".to_owned() };
                match request {
                    // How the other side gets what it is to ask.
                    Ok(Request::Summary) => Reply::Signature(reverie_core::ipc::encode(&*questions).unwrap_or_default()),
                    Ok(request) => keys.answer(&request).unwrap_or(failed),
                    Err(_) => failed,
                }
            }
        })
        .await?;
    Ok(())
}

fn questions(keys: &Keys) -> Result<[Request; 2], Box<dyn Error>> {
    let sealed = seal(&Aws, &keys.signing, keys.kem.public_key(), b"a message")?;
    let verified = parse(&sealed, 1 << 20)?.verify(&Aws, keys.signing.public_key())?;
    Ok([
        Request::SignEnvelope { digest: [7; 32] },
        Request::OpenEnvelope {
            kem_kid: verified.kem_kid(),
            ciphertext: verified.kem_ciphertext().to_vec(),
            wrapped_key: verified.wrapped_key().to_vec(),
        },
    ])
}

/// The role net: what it is told to ask, again and again.
async fn ask() -> Result<(), Box<dyn Error>> {
    let channel = Channel::<Request, Reply>::connect_as(stdin_channel()?, "net", "keeper", 16).await?;
    let Reply::Signature(questions) = channel.call(&Request::Summary, None, WITHIN).await? else {
        return Err("no questions".into());
    };
    let questions: [Request; 2] = reverie_core::ipc::decode(&questions)?;
    for question in &questions {
        let mut times = vec![];
        for _ in 0..CALLS {
            let begun = Instant::now();
            match channel.call(question, None, WITHIN).await? {
                Reply::Signature(_) | Reply::ContentKey(_) => times.push(begun.elapsed()),
                other => return Err(format!("{other:?}").into()),
            }
        }
        report(question, "asked of the keeper", times);
    }
    Ok(())
}

fn report(question: &Request, how: &str, mut times: Vec<Duration>) {
    let what = match question {
        Request::SignEnvelope { .. } => "sign",
        _ => "open",
    };
    times.sort();
    // A role has no standard output.
    eprintln!("{what}, {how:20} p50 {:>8.1?}  p99 {:>8.1?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
