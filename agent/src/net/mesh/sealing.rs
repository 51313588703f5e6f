//! Envelopes: built and taken apart here, signed and opened by the keeper.

use std::time::Duration;

use reverie_core::ipc::net::{MeshIdentity, Reply, Request};
use reverie_core::mesh::crypto::{KemPublicKey, Kid, PublicOperations, SigningPublicKey};
use reverie_core::mesh::envelope::{self, EnvelopeError};
use reverie_core::mesh::message::{Content, Message, MessageError, Nonce};
use zeroize::Zeroizing;

use super::state::Net;
use crate::net::clock;
use crate::net::http::Refusal;

/// The keeper signs and decapsulates in well under a millisecond.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why an envelope was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// It is no good.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// What is in it is no good.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Our side cannot.
    #[error("{0}")]
    Unavailable(String),
}

impl From<SealingError> for Refusal {
    fn from(error: SealingError) -> Self {
        match error {
            SealingError::Envelope(EnvelopeError::BadSignature) => Self::new(
                401,
                "bad_signature",
                format!("{}; sign with the key that the mesh knows this host by", EnvelopeError::BadSignature),
            ),
            SealingError::Envelope(EnvelopeError::TooLarge) => Self::new(413, "too_large", EnvelopeError::TooLarge.to_string()),
            SealingError::Envelope(error) => Self::malformed(error.to_string()),
            SealingError::Message(error) => {
                let name = if error.status() == 409 { "stale" } else { "malformed" };
                Self::new(error.status(), name, error.to_string())
            }
            SealingError::Unavailable(why) => Self::unavailable(why),
        }
    }
}

/// Random bytes to tell messages apart.
pub fn nonce(net: &Net) -> Result<Nonce, SealingError> {
    let mut nonce = [0; 16];
    net.ops.random(&mut nonce).map_err(|_| SealingError::Unavailable("the system gives no random bytes".to_owned()))?;
    Ok(nonce)
}

/// A message of ours that begins something or answers.
pub fn message(
    net: &Net,
    identity: &MeshIdentity,
    recipient: &reverie_core::id::NodeId,
    wire: u16,
    in_reply_to: Option<Nonce>,
    content: Content,
) -> Result<Message, SealingError> {
    Ok(Message {
        version: wire,
        mesh: identity.mesh,
        sender: identity.node.clone(),
        recipient: recipient.clone(),
        epoch: identity.epoch,
        nonce: nonce(net)?,
        in_reply_to,
        issued_at: clock::now(),
        content,
    })
}

/// Seals a message to a key, signed by the keeper with the key named `signer`.
pub async fn seal(net: &Net, message: &Message, signer: &Kid, recipient: &KemPublicKey) -> Result<Vec<u8>, SealingError> {
    let unavailable = |what: &dyn std::fmt::Display| SealingError::Unavailable(what.to_string());
    let plaintext = message.pack()?;
    let draft = envelope::draft(&net.ops, recipient, &plaintext).map_err(|error| unavailable(&error))?;
    match net.keeper.ask(&Request::SignEnvelope { digest: *draft.digest() }, DEADLINE).await {
        Ok(Reply::Signature(signature)) => draft.finish(signer, &signature).map_err(|error| unavailable(&error)),
        Ok(other) => Err(unavailable(&format!("the keeper did not sign an envelope: {other:?}"))),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Opens an envelope whose signature `key` made: verified first, decrypted afterwards.
pub async fn open(net: &Net, envelope: &[u8], max: usize, key: &SigningPublicKey) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let verified = envelope::parse(envelope, max)?.verify(&net.ops, key)?;
    let request = Request::OpenEnvelope {
        kem_kid: verified.kem_kid(),
        ciphertext: verified.kem_ciphertext().to_vec(),
        wrapped_key: verified.wrapped_key().to_vec(),
    };
    match net.keeper.ask(&request, DEADLINE).await {
        Ok(Reply::ContentKey(key)) => Ok(verified.open(&net.ops, &Zeroizing::new(key))?),
        Ok(Reply::Refused { .. }) => Err(EnvelopeError::Unopenable.into()),
        Ok(other) => Err(SealingError::Unavailable(format!("the keeper did not open an envelope: {other:?}"))),
        Err(error) => Err(SealingError::Unavailable(error.to_string())),
    }
}
