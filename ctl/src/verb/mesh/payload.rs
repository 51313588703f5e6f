//! A message in JSON, as `agentctl mesh envelope` reads and prints it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reverie_core::id::NodeId;
use reverie_core::mesh::message::{Content, Message, Sync, WIRE};
use reverie_core::mesh::vector::VersionVector;
use reverie_core::moment::Moment;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// One message. Identifiers are hexadecimal, records and bodies base64.
#[derive(Serialize, Deserialize)]
pub(super) struct Payload {
    #[serde(default = "newest")]
    version: u16,
    mesh: String,
    sender: NodeId,
    recipient: NodeId,
    epoch: u64,
    /// Random if left out.
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_reply_to: Option<String>,
    /// Now if left out.
    #[serde(default)]
    issued_at: Option<Moment>,
    #[serde(flatten)]
    content: Kind,
}

/// Whatever [`Payload`] does not name comes here, and is refused if it has no place.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Kind {
    Sync {
        #[serde(default)]
        request_delta_since: Option<VersionVector>,
        #[serde(default)]
        vector: VersionVector,
        #[serde(default)]
        more: bool,
        #[serde(default)]
        records: Vec<String>,
    },
    WrappingKey {
        body: Zeroizing<String>,
    },
    Join {
        body: Zeroizing<String>,
    },
    Renewal {
        body: Zeroizing<String>,
    },
}

fn newest() -> u16 {
    *WIRE.end()
}

impl Payload {
    /// From JSON.
    pub(super) fn read(json: &[u8]) -> Result<Message, Failure> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(Exit::Data, format_args!("standard input is not a message in JSON: {why}"))
                .advise("`agentctl mesh envelope open` prints one; --raw takes any payload as it is")
        };
        let payload: Self = serde_json::from_slice(json).map_err(|error| wrong(&error))?;
        payload.into_message().map_err(|field| wrong(&format_args!("{field} is not what it should be")))
    }

    fn into_message(self) -> Result<Message, &'static str> {
        let nonce = match self.nonce {
            Some(nonce) => hex(&nonce).ok_or("nonce")?,
            None => {
                let mut nonce = [0; 16];
                aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "the system's randomness")?;
                nonce
            }
        };
        let in_reply_to = self.in_reply_to.map(|nonce| hex(&nonce).ok_or("in_reply_to")).transpose()?;
        let body = |text: &str| STANDARD.decode(text).map(Zeroizing::new).map_err(|_| "body");
        let content = match self.content {
            Kind::Sync { request_delta_since, vector, more, records } => {
                let records = records.iter().map(|record| STANDARD.decode(record)).collect::<Result<_, _>>();
                let records = records.map_err(|_| "one of the records")?;
                Content::Sync(Sync { request_delta_since, vector, more, records })
            }
            Kind::WrappingKey { body: text } => Content::WrappingKey(body(&text)?),
            Kind::Join { body: text } => Content::Join(body(&text)?),
            Kind::Renewal { body: text } => Content::Renewal(body(&text)?),
        };
        Ok(Message {
            version: self.version,
            mesh: hex(&self.mesh).ok_or("mesh")?,
            sender: self.sender,
            recipient: self.recipient,
            epoch: self.epoch,
            nonce,
            in_reply_to,
            issued_at: self.issued_at.unwrap_or_else(|| Moment::from(time::OffsetDateTime::now_utc())),
            content,
        })
    }

    /// Of a message that was opened.
    pub(super) fn of(message: Message) -> Self {
        let text = |body: &[u8]| Zeroizing::new(STANDARD.encode(body));
        Self {
            version: message.version,
            mesh: data_encoding::HEXLOWER.encode(&message.mesh),
            sender: message.sender,
            recipient: message.recipient,
            epoch: message.epoch,
            nonce: Some(data_encoding::HEXLOWER.encode(&message.nonce)),
            in_reply_to: message.in_reply_to.map(|nonce| data_encoding::HEXLOWER.encode(&nonce)),
            issued_at: Some(message.issued_at),
            content: match message.content {
                Content::Sync(Sync { request_delta_since, vector, more, records }) => {
                    let records = records.iter().map(|record| STANDARD.encode(record)).collect();
                    Kind::Sync { request_delta_since, vector, more, records }
                }
                Content::WrappingKey(body) => Kind::WrappingKey { body: text(&body) },
                Content::Join(body) => Kind::Join { body: text(&body) },
                Content::Renewal(body) => Kind::Renewal { body: text(&body) },
            },
        }
    }
}

fn hex(text: &str) -> Option<[u8; 16]> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}
