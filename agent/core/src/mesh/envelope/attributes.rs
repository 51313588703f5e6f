//! Signed attributes (RFC 5652 §5.3): what the outer signature is made over.

use der::asn1::AnyRef;
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};

use super::EnvelopeError;
use super::profile::{CONTENT_TYPE, ID_ENVELOPED_DATA, MESSAGE_DIGEST, SIGNING_TIME};
use super::wire::{Attribute, One, Set};

/// The SET, in DER, to sign for an EnvelopedData with that SHA-256: content-type and message-digest.
pub fn signed_attributes(digest: &[u8; 32]) -> Vec<u8> {
    tagged(Set(&members(digest)))
}

/// The two attributes without the tag, in DER's order (by their encoding; content-type is the shorter).
pub fn members(digest: &[u8; 32]) -> Vec<u8> {
    // SEQUENCE { OID content-type, SET { OID id-envelopedData } }, SEQUENCE { OID message-digest, SET { OCTET STRING } }
    let mut bytes = Vec::with_capacity(75);
    bytes.extend_from_slice(&[0x30, 0x18, 0x06, 0x09]);
    bytes.extend_from_slice(CONTENT_TYPE.as_bytes());
    bytes.extend_from_slice(&[0x31, 0x0b, 0x06, 0x09]);
    bytes.extend_from_slice(ID_ENVELOPED_DATA.as_bytes());
    bytes.extend_from_slice(&[0x30, 0x2f, 0x06, 0x09]);
    bytes.extend_from_slice(MESSAGE_DIGEST.as_bytes());
    bytes.extend_from_slice(&[0x31, 0x22, 0x04, 0x20]);
    bytes.extend_from_slice(digest);
    bytes
}

/// What is signed: the attributes with the tag of a SET in place of the `[0]` they are sent with (RFC 5652 §5.4).
pub fn tagged(attributes: Set<'_>) -> Vec<u8> {
    // Lengths were checked when it was read, or are small.
    attributes.to_der().unwrap_or_default()
}

/// The message digest they state. Content-type and message-digest must be there, each once, and the first must say
/// id-envelopedData; of others only a signing-time is tolerated, which other tools add and which proves nothing here.
pub fn read(attributes: Set<'_>) -> Result<[u8; 32], EnvelopeError> {
    let (mut kind, mut digest, mut time) = (false, None, false);
    let mut reader = SliceReader::new(attributes.0).map_err(|_| EnvelopeError::Malformed("signed attributes"))?;
    while !reader.is_finished() {
        let Attribute { kind: oid, value: One(value) } =
            Attribute::decode(&mut reader).map_err(|_| EnvelopeError::Malformed("signed attributes"))?;
        match oid {
            CONTENT_TYPE if !kind => kind = states(value, Tag::ObjectIdentifier, ID_ENVELOPED_DATA.as_bytes()),
            MESSAGE_DIGEST if digest.is_none() && value.tag() == Tag::OctetString => {
                digest = value.value().try_into().ok();
            }
            SIGNING_TIME if !time => time = true,
            _ => return Err(EnvelopeError::Malformed("a signed attribute has no place in it, or comes twice")),
        }
    }
    match digest {
        Some(digest) if kind => Ok(digest),
        Some(_) => Err(EnvelopeError::Malformed("the signed content type is missing, or is not EnvelopedData")),
        None => Err(EnvelopeError::Malformed("the signed message digest is missing")),
    }
}

fn states(value: AnyRef<'_>, tag: Tag, bytes: &[u8]) -> bool {
    value.tag() == tag && value.value() == bytes
}
