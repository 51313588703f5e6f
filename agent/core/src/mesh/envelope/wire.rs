//! The profile as DER structures: what is not here cannot be in an envelope. Each borrows from the message.

use der::asn1::{ContextSpecific, ObjectIdentifier};
use der::{
    DecodeValue, EncodeValue, Error, ErrorKind, FixedTag, Header, Length, Reader, Sequence, Tag, TagMode, TagNumber, Writer,
};
use spki::AlgorithmIdentifierRef;

/// RFC 5652 §3.
#[derive(Clone, Debug, Sequence)]
pub struct ContentInfo<'a> {
    pub content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub content: SignedData<'a>,
}

/// RFC 5652 §5.1. `certificates` and `crls` have no place: a message that has them does not decode.
#[derive(Clone, Debug, Sequence)]
pub struct SignedData<'a> {
    pub version: u8,
    pub digest_algorithms: One<AlgorithmIdentifierRef<'a>>,
    pub content: EncapsulatedContent<'a>,
    pub signers: One<SignerInfo<'a>>,
}

/// RFC 5652 §5.2.
#[derive(Clone, Debug, Sequence)]
pub struct EncapsulatedContent<'a> {
    pub content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub content: Octets<'a>,
}

/// RFC 5652 §5.3, with a subjectKeyIdentifier and without unsigned attributes.
#[derive(Clone, Debug, Sequence)]
pub struct SignerInfo<'a> {
    pub version: u8,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    pub key: Octets<'a>,
    pub digest_algorithm: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    pub attributes: Set<'a>,
    pub signature_algorithm: AlgorithmIdentifierRef<'a>,
    pub signature: Octets<'a>,
}

/// RFC 5652 §5.3; exactly one value.
#[derive(Clone, Debug, Sequence)]
pub struct Attribute<'a> {
    pub kind: ObjectIdentifier,
    pub value: One<der::asn1::AnyRef<'a>>,
}

/// RFC 5652 §6.1, without originator and unprotected attributes.
#[derive(Clone, Debug, Sequence)]
pub struct EnvelopedData<'a> {
    pub version: u8,
    pub recipients: One<Other<'a>>,
    pub content: EncryptedContent<'a>,
}

/// RFC 5652 §6.1.
#[derive(Clone, Debug, Sequence)]
pub struct EncryptedContent<'a> {
    pub content_type: ObjectIdentifier,
    pub algorithm: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    pub content: Octets<'a>,
}

/// RFC 5652 §6.2.5.
#[derive(Clone, Debug, Sequence)]
pub struct OtherRecipient<'a> {
    pub kind: ObjectIdentifier,
    pub value: KemRecipient<'a>,
}

/// RFC 9629 §3, with a subjectKeyIdentifier and without user keying material.
#[derive(Clone, Debug, Sequence)]
pub struct KemRecipient<'a> {
    pub version: u8,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    pub key: Octets<'a>,
    pub kem: AlgorithmIdentifierRef<'a>,
    pub ciphertext: Octets<'a>,
    pub kdf: AlgorithmIdentifierRef<'a>,
    pub kek_length: u16,
    pub wrap: AlgorithmIdentifierRef<'a>,
    pub wrapped_key: Octets<'a>,
}

/// RFC 9629 §5: what the key derivation is bound to.
#[derive(Clone, Debug, Sequence)]
pub struct KemOtherInfo<'a> {
    pub wrap: AlgorithmIdentifierRef<'a>,
    pub kek_length: u16,
}

/// The bytes of an OCTET STRING.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a>(pub &'a [u8]);

/// The bytes of the members of a SET OF.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a>(pub &'a [u8]);

macro_rules! bytes_of {
    ($($type:ident $tag:expr;)*) => { $(
        impl FixedTag for $type<'_> {
            const TAG: Tag = $tag;
        }
        impl<'a> DecodeValue<'a> for $type<'a> {
            type Error = Error;
            fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> Result<Self, Error> {
                reader.read_slice(header.length()).map(Self)
            }
        }
        impl EncodeValue for $type<'_> {
            fn value_len(&self) -> Result<Length, Error> {
                self.0.len().try_into()
            }
            fn encode_value(&self, writer: &mut impl Writer) -> Result<(), Error> {
                writer.write(self.0)
            }
        }
    )* };
}

bytes_of! {
    Octets Tag::OctetString;
    Set Tag::Set;
}

/// A SET OF with exactly one member.
#[derive(Clone, Copy, Debug)]
pub struct One<T>(pub T);

impl<T> FixedTag for One<T> {
    const TAG: Tag = Tag::Set;
}

impl<'a, T: der::Decode<'a, Error = Error>> DecodeValue<'a> for One<T> {
    type Error = Error;
    // The caller sees to it that nothing follows within the set.
    fn decode_value<R: Reader<'a>>(reader: &mut R, _: Header) -> Result<Self, Error> {
        T::decode(reader).map(Self)
    }
}

impl<T: der::Encode> EncodeValue for One<T> {
    fn value_len(&self) -> Result<Length, Error> {
        self.0.encoded_len()
    }
    fn encode_value(&self, writer: &mut impl Writer) -> Result<(), Error> {
        self.0.encode(writer)
    }
}

/// RecipientInfo of the kind `[4] OtherRecipientInfo`.
#[derive(Clone, Debug)]
pub struct Other<'a>(pub OtherRecipient<'a>);

const ORI: TagNumber = TagNumber(4);

impl<'a> der::Decode<'a> for Other<'a> {
    type Error = Error;
    fn decode<R: Reader<'a>>(reader: &mut R) -> Result<Self, Error> {
        match ContextSpecific::<OtherRecipient<'a>>::decode_implicit(reader, ORI)? {
            Some(field) => Ok(Self(field.value)),
            None => Err(ErrorKind::Failed.into()),
        }
    }
}

impl der::Encode for Other<'_> {
    fn encoded_len(&self) -> Result<Length, Error> {
        self.field().encoded_len()
    }
    fn encode(&self, writer: &mut impl Writer) -> Result<(), Error> {
        self.field().encode(writer)
    }
}

impl<'a> Other<'a> {
    fn field(&self) -> der::asn1::ContextSpecificRef<'_, OtherRecipient<'a>> {
        der::asn1::ContextSpecificRef { tag_number: ORI, tag_mode: TagMode::Implicit, value: &self.0 }
    }
}
