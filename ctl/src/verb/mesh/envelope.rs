//! `agentctl mesh envelope`: on files, no agent needed.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reverie_core::mesh::crypto::{CryptoFailure, Decapsulator, Signer};
use reverie_core::mesh::envelope::{self, EnvelopeError};
use reverie_core::mesh::message::{MAX_PLAINTEXT, Message, MessageError};
use reverie_crypto::aws::{Aws, KemKey, SigningKey};
use reverie_crypto::{KeyError, file};
use zeroize::Zeroizing;

use super::payload::Payload;
use crate::cli::Session;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{fields, plain};

/// The largest message read here: the largest payload and what is around it.
const MAX_MESSAGE: usize = MAX_PLAINTEXT + (64 << 10);
/// A larger file is no key.
const MAX_KEY: usize = 16 << 10;

/// Messages of the mesh, sealed and opened with keys in files; for interoperability, no agent needed
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a signing key and a KEM key: signer.key, signer.pub, kem.key, kem.pub
    Keygen {
        /// Where to; made if it does not exist
        dir: PathBuf,
    },
    /// Seal standard input to a host, signed by another
    Seal {
        /// The sender's signing key (P-256, PKCS #8)
        #[arg(long, value_name = "FILE")]
        signer_key: PathBuf,
        /// The recipient's KEM key (ML-KEM-768, SPKI)
        #[arg(long, value_name = "FILE")]
        recipient_pub: PathBuf,
        /// Take the payload as it is; otherwise it is a message in JSON, as `open` prints it
        #[arg(long)]
        raw: bool,
    },
    /// Verify and open a message from standard input, DER or PEM
    Open {
        /// The sender's pinned key (P-256, SPKI)
        #[arg(long, value_name = "FILE")]
        signer_pub: PathBuf,
        /// The recipient's KEM key (ML-KEM-768, PKCS #8 with the seed)
        #[arg(long, value_name = "FILE")]
        kem_key: PathBuf,
        /// Print the payload as it is
        #[arg(long)]
        raw: bool,
    },
    /// Show key names, algorithms and sizes of a message from standard input; verifies nothing
    Inspect,
}

impl Verb {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Keygen { dir } => keygen(session, &dir),
            Self::Seal { signer_key, recipient_pub, raw } => seal(session, &signer_key, &recipient_pub, raw),
            Self::Open { signer_pub, kem_key, raw } => open(session, &signer_pub, &kem_key, raw),
            Self::Inspect => inspect(session),
        }
    }
}

#[derive(serde::Serialize)]
struct Made {
    signing_kid: String,
    kem_kid: String,
    files: Vec<String>,
}

fn keygen(session: &Session, dir: &Path) -> Outcome {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Failure::writing(dir, &error))?;
    let (signing, kem) = (SigningKey::generate().map_err(crypto)?, KemKey::generate().map_err(crypto)?);
    let secret = signing.to_pkcs8_der().map_err(crypto)?;
    let mut files = vec![];
    let mut place = |name: &str, text: &str, mode: u32| {
        let path = dir.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Failure::writing(&path, &error))?;
        files.push(path.display().to_string());
        Ok::<(), Failure>(())
    };
    place("signer.key", &file::private_to_pem(&secret), 0o600)?;
    place("signer.pub", &file::public_to_pem(&signing.public_key().to_spki_der()), 0o644)?;
    place("kem.key", &file::private_to_pem(&kem.to_pkcs8_der()), 0o600)?;
    place("kem.pub", &file::public_to_pem(&kem.public_key().to_spki_der()), 0o644)?;
    let made = Made { signing_kid: signing.public_key().kid().to_string(), kem_kid: kem.public_key().kid().to_string(), files };
    session.screen.show(&made, |made| {
        let files: String = made.files.iter().map(|file| format!("wrote {}\n", plain(file))).collect();
        files + &fields([("signing key", made.signing_kid.clone()), ("KEM key", made.kem_kid.clone())])
    })
}

fn seal(session: &Session, signer_key: &Path, recipient_pub: &Path, raw: bool) -> Outcome {
    let der = key(signer_key, file::private_from)?;
    let signer = SigningKey::from_pkcs8_der(&der).map_err(|why| wrong_key(signer_key, why))?;
    let recipient = key(recipient_pub, file::kem_public_from)?;
    let input = input(MAX_PLAINTEXT)?;
    let plaintext = if raw { input } else { Payload::read(&input)?.pack().map_err(|why| message(&why))? };
    session.screen.bytes(&envelope::seal(&Aws, &signer, &recipient, &plaintext).map_err(crypto)?)
}

fn open(session: &Session, signer_pub: &Path, kem_key: &Path, raw: bool) -> Outcome {
    let signer = key(signer_pub, file::signing_public_from)?;
    let der = key(kem_key, file::private_from)?;
    let kem = KemKey::from_pkcs8_der(&der).map_err(|why| wrong_key(kem_key, why))?;
    let sealed = sealed()?;
    let opened = || {
        let verified = envelope::parse(&sealed, MAX_MESSAGE)?.verify(&Aws, &signer)?;
        if verified.kem_kid() != kem.public_key().kid() {
            return Err(EnvelopeError::Unopenable);
        }
        let content_key = envelope::content_key(&Aws, &kem, verified.kem_ciphertext(), verified.wrapped_key())?;
        verified.open(&Aws, &content_key)
    };
    let plaintext = opened().map_err(refused)?;
    if raw {
        return session.screen.bytes(&plaintext);
    }
    let message = Message::read(&plaintext).map_err(|why| {
        message(&why).advise("the envelope is right, and its payload no message of the mesh: --raw prints it as it is")
    })?;
    session.screen.json(&Payload::of(message))
}

#[derive(serde::Serialize)]
struct Inspected {
    signer: String,
    recipient: String,
    signature: &'static str,
    key_encapsulation: &'static str,
    key_derivation: &'static str,
    key_wrap: &'static str,
    content_encryption: &'static str,
    message_bytes: usize,
    content_bytes: usize,
}

fn inspect(session: &Session) -> Outcome {
    let sealed = sealed()?;
    let outline = envelope::outline(&sealed, MAX_MESSAGE).map_err(refused)?;
    let inspected = Inspected {
        signer: outline.signer.to_string(),
        recipient: outline.recipient.to_string(),
        signature: "ecdsa-with-SHA256",
        key_encapsulation: "ML-KEM-768",
        key_derivation: "HKDF with SHA-256",
        key_wrap: "AES-256 key wrap",
        content_encryption: "AES-256-CBC",
        message_bytes: sealed.len(),
        content_bytes: outline.content,
    };
    session.screen.show(&inspected, |inspected| {
        fields([
            ("signed by", inspected.signer.clone()),
            ("sealed to", inspected.recipient.clone()),
            ("signature", inspected.signature.to_owned()),
            ("key encapsulation", inspected.key_encapsulation.to_owned()),
            ("key derivation", inspected.key_derivation.to_owned()),
            ("key wrap", inspected.key_wrap.to_owned()),
            ("content encryption", inspected.content_encryption.to_owned()),
            ("message", format!("{} bytes", inspected.message_bytes)),
            ("encrypted content", format!("{} bytes", inspected.content_bytes)),
        ])
    })
}

fn input(max: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = std::io::stdin().lock().take(max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::reading(Path::new("standard input"), &error))?;
    match bytes.len() > max {
        true => Err(Failure::new(Exit::Data, format_args!("standard input is larger than {} KiB", max >> 10))
            .advise("a message of the mesh is at most that; send less at once")),
        false => Ok(bytes),
    }
}

/// A message, from DER or from PEM as OpenSSL writes it.
fn sealed() -> Result<Vec<u8>, Failure> {
    // PEM takes a third more.
    let bytes = input(MAX_MESSAGE * 3 / 2)?;
    match pem::parse(&*bytes) {
        Ok(block) if block.tag() == "CMS" => Ok(block.into_contents()),
        _ => Ok(bytes.to_vec()),
    }
}

fn key<T>(path: &Path, read: impl FnOnce(&[u8]) -> Result<T, KeyError>) -> Result<T, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::reading(path, &error))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY));
    file.take(MAX_KEY as u64).read_to_end(&mut bytes).map_err(|error| Failure::reading(path, &error))?;
    read(&bytes).map_err(|why| wrong_key(path, why))
}

fn wrong_key(path: &Path, why: KeyError) -> Failure {
    Failure::new(Exit::Data, format_args!("{}: {why}", path.display()))
        .advise("make keys with `agentctl mesh envelope keygen DIR`")
}

fn crypto(_: CryptoFailure) -> Failure {
    Failure::new(Exit::Internal, "a cryptographic operation failed").advise("check the recipient's key, then try again")
}

fn refused(why: EnvelopeError) -> Failure {
    let advice = match why {
        EnvelopeError::TooLarge => "a message of the mesh is smaller; send less at once",
        EnvelopeError::Malformed(_) => "docs/protocol/mesh.md says what an envelope is made of",
        EnvelopeError::BadSignature => {
            "name the key of the host that sent it: `agentctl mesh envelope inspect` shows which signed"
        }
        EnvelopeError::Unopenable => "name the key it is sealed to: `agentctl mesh envelope inspect` shows which",
    };
    Failure::new(Exit::Data, why).advise(advice)
}

fn message(why: &MessageError) -> Failure {
    Failure::new(Exit::Data, why)
}
