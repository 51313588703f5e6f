//! A message as CBOR: `[version, mesh, sender, recipient, {…}]`. The first four are the same in every version, so that a
//! host can tell whom a message is by and for before it says anything about it.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use zeroize::Zeroizing;

use super::{Content, Expected, MAX_RECORDS, Message, MessageError, Nonce, ONE_VECTOR, Sync, WIRE};
use crate::id::NodeId;
use crate::mesh::vector::VersionVector;
use crate::moment::Moment;

/// Keys of the map. They ascend, so none can come twice; a reader skips those it does not know.
mod key {
    pub const EPOCH: u32 = 1;
    pub const NONCE: u32 = 2;
    pub const IN_REPLY_TO: u32 = 3;
    pub const ISSUED_AT: u32 = 4;
    pub const KIND: u32 = 5;
    pub const REQUEST_DELTA_SINCE: u32 = 7;
    pub const VECTOR: u32 = 8;
    pub const MORE: u32 = 10;
    pub const RECORDS: u32 = 11;
    pub const BODY: u32 = 12;
}

const SYNC: u8 = 1;
const WRAPPING_KEY: u8 = 2;
const JOIN: u8 = 3;
const RENEWAL: u8 = 4;

/// Deterministic (RFC 8949 §4.2.1).
pub fn encode(message: &Message) -> Result<Zeroizing<Vec<u8>>, MessageError> {
    let size = match &message.content {
        Content::Sync(sync) => sync.records.iter().map(|record| record.len() + 5).sum(),
        Content::WrappingKey(body) | Content::Join(body) | Content::Renewal(body) => body.len(),
    };
    // Enough at once, so that no copy of a secret is left behind when it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 2048));
    // Writing to memory does not fail.
    write(&mut Encoder::new(&mut *bytes), message).map_err(|_| MessageError::Malformed("cannot be encoded"))?;
    Ok(bytes)
}

type WriteResult = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write(to: &mut Encoder<&mut Vec<u8>>, message: &Message) -> WriteResult {
    to.array(5)?.u16(message.version)?.bytes(&message.mesh)?;
    to.str(message.sender.as_str())?.str(message.recipient.as_str())?;
    let of_content = match &message.content {
        Content::Sync(sync) => 3 + u64::from(sync.request_delta_since.is_some()),
        _ => 1,
    };
    to.map(4 + u64::from(message.in_reply_to.is_some()) + of_content)?;
    to.u32(key::EPOCH)?.u64(message.epoch)?;
    to.u32(key::NONCE)?.bytes(&message.nonce)?;
    if let Some(nonce) = &message.in_reply_to {
        to.u32(key::IN_REPLY_TO)?.bytes(nonce)?;
    }
    to.u32(key::ISSUED_AT)?.encode(message.issued_at)?;
    match &message.content {
        Content::Sync(sync) => write_sync(to.u32(key::KIND)?.u8(SYNC)?, message.version, sync),
        Content::WrappingKey(body) => write_body(to, WRAPPING_KEY, body),
        Content::Join(body) => write_body(to, JOIN, body),
        Content::Renewal(body) => write_body(to, RENEWAL, body),
    }
}

fn write_body(to: &mut Encoder<&mut Vec<u8>>, kind: u8, body: &[u8]) -> WriteResult {
    to.u32(key::KIND)?.u8(kind)?.u32(key::BODY)?.bytes(body)?.ok()
}

fn write_sync(to: &mut Encoder<&mut Vec<u8>>, version: u16, sync: &Sync) -> WriteResult {
    match &sync.request_delta_since {
        Some(since) if version >= ONE_VECTOR && *since == sync.vector => to.u32(key::REQUEST_DELTA_SINCE)?.bool(true)?.ok()?,
        Some(since) => to.u32(key::REQUEST_DELTA_SINCE)?.encode(since)?.ok()?,
        None => {}
    }
    to.u32(key::VECTOR)?.encode(&sync.vector)?;
    to.u32(key::MORE)?.bool(sync.more)?;
    to.u32(key::RECORDS)?.array(sync.records.len() as u64)?;
    for record in &sync.records {
        to.bytes(record)?;
    }
    Ok(())
}

/// Reads a message that is by and for whom `expected` says; of any other nothing is told.
pub fn decode(bytes: &[u8], expected: Option<&Expected<'_>>) -> Result<Message, MessageError> {
    let mut from = Decoder::new(bytes);
    let (version, mesh, sender, recipient) = addresses(&mut from).map_err(|_| MessageError::Unopenable)?;
    let is_other = |expected: &Expected<'_>| {
        expected.mesh.is_some_and(|expected| *expected != mesh)
            || expected.sender.is_some_and(|expected| *expected != sender)
            || *expected.recipient != recipient
    };
    if expected.is_some_and(is_other) {
        return Err(MessageError::Unopenable);
    }
    let ours = *WIRE.start()..=expected.map_or(*WIRE.end(), |expected| expected.newest_wire);
    if !ours.contains(&version) {
        return Err(MessageError::Version { theirs: version, ours });
    }
    let fields = Fields::read(&mut from, version).map_err(|_| MessageError::Malformed("not the fields of a message"))?;
    if from.position() != bytes.len() {
        return Err(MessageError::Malformed("bytes follow the message"));
    }
    let missing = || MessageError::Malformed("a field is missing");
    Ok(Message {
        version,
        mesh,
        sender,
        recipient,
        epoch: fields.epoch.ok_or_else(missing)?,
        nonce: fields.nonce.ok_or_else(missing)?,
        in_reply_to: fields.in_reply_to,
        issued_at: fields.issued_at.ok_or_else(missing)?,
        content: match (fields.kind, fields.body) {
            (Some(SYNC), None) => Content::Sync(fields.sync),
            (Some(WRAPPING_KEY), Some(body)) => Content::WrappingKey(body),
            (Some(JOIN), Some(body)) => Content::Join(body),
            (Some(RENEWAL), Some(body)) => Content::Renewal(body),
            _ => return Err(MessageError::Malformed("of no known kind, or without its content")),
        },
    })
}

type ReadResult<T> = Result<T, minicbor::decode::Error>;

fn addresses(from: &mut Decoder<'_>) -> ReadResult<(u16, [u8; 16], NodeId, NodeId)> {
    match from.array()? {
        Some(5) => Ok((from.u16()?, fixed(from)?, from.decode()?, from.decode()?)),
        _ => Err(wrong("not an array of five")),
    }
}

/// The map, read once from front to back.
#[derive(Default)]
struct Fields {
    epoch: Option<u64>,
    nonce: Option<Nonce>,
    in_reply_to: Option<Nonce>,
    issued_at: Option<Moment>,
    kind: Option<u8>,
    sync: Sync,
    /// What is asked for is what `sync.vector` lacks.
    since_vector: bool,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Fields {
    fn read(from: &mut Decoder<'_>, version: u16) -> ReadResult<Self> {
        let mut fields = Self::default();
        let count = from.map()?.ok_or_else(|| wrong("of indefinite length"))?;
        let mut last = None;
        for _ in 0..count {
            let key = from.u32()?;
            if last.is_some_and(|last| last >= key) {
                return Err(wrong("keys do not ascend"));
            }
            last = Some(key);
            fields.take(key, version, from)?;
        }
        if fields.since_vector {
            fields.sync.request_delta_since = Some(fields.sync.vector.clone());
        }
        Ok(fields)
    }

    fn take(&mut self, key: u32, version: u16, from: &mut Decoder<'_>) -> ReadResult<()> {
        match key {
            key::EPOCH => self.epoch = Some(from.u64()?),
            key::NONCE => self.nonce = Some(fixed(from)?),
            key::IN_REPLY_TO => self.in_reply_to = Some(fixed(from)?),
            key::ISSUED_AT => self.issued_at = Some(from.decode()?),
            key::KIND => self.kind = Some(from.u8()?),
            key::REQUEST_DELTA_SINCE if version >= ONE_VECTOR && from.datatype()? == Type::Bool => {
                self.since_vector = from.bool()?;
            }
            key::REQUEST_DELTA_SINCE => self.sync.request_delta_since = Some(from.decode::<VersionVector>()?),
            key::VECTOR => self.sync.vector = from.decode()?,
            key::MORE => self.sync.more = from.bool()?,
            key::RECORDS => self.sync.records = records(from)?,
            key::BODY => self.body = Some(Zeroizing::new(from.bytes()?.to_vec())),
            _ => from.skip()?,
        }
        Ok(())
    }
}

fn records(from: &mut Decoder<'_>) -> ReadResult<Vec<Vec<u8>>> {
    let count = from.array()?.and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= MAX_RECORDS);
    let count = count.ok_or_else(|| wrong("too many records"))?;
    (0..count).map(|_| from.bytes().map(<[u8]>::to_vec)).collect()
}

fn fixed<const N: usize>(from: &mut Decoder<'_>) -> ReadResult<[u8; N]> {
    from.bytes()?.try_into().map_err(|_| wrong("wrong length"))
}

fn wrong(what: &'static str) -> minicbor::decode::Error {
    minicbor::decode::Error::message(what)
}
