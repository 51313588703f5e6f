//! Names, parsed once at the edge and trusted afterwards.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A name that broke its rules; the text says which rule and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} {reason}")]
pub struct InvalidName {
    /// What the name was meant to be, e.g. `identity name`.
    pub kind: &'static str,
    /// The offending text, cut to 128 characters.
    pub value: String,
    /// The broken rule, phrased to follow the value.
    pub reason: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                match $check(value) {
                    Ok(()) => Ok(Self(value.to_owned())),
                    Err(reason) => Err(InvalidName { kind: $kind, value: value.chars().take(128).collect(), reason }),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.str(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                decoder.str()?.parse().map_err(minicbor::decode::Error::message)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "title": $kind })
            }
        }
    };
}

name_type!(
    /// A SPIFFE trust domain (SPIFFE-ID §2.1): lower-case letters, digits, `.`, `-`, `_`, at most 255 bytes.
    TrustDomain, "trust domain", check_trust_domain
);
name_type!(
    /// The name of a host in the mesh: its fully qualified domain name, lower case.
    NodeId, "node id", check_dns_name
);
name_type!(
    /// The local name of an identity; also the name of its directory under `certs/`.
    IdentityName, "identity name", check_file_name
);
name_type!(
    /// The local name of a secret; also the name of its file under `secrets/`.
    SecretName, "secret name", check_file_name
);
name_type!(
    /// The local name of a tunnel; also the name of its socket under `tunnels/`.
    TunnelName, "tunnel name", check_file_name
);
name_type!(
    /// A SPIFFE ID (SPIFFE-ID §2): `spiffe://trust-domain/path`, at most 2048 bytes.
    SpiffeId, "SPIFFE ID", check_spiffe_id
);
name_type!(
    /// A DNS name as a subject alternative name (RFC 5280 §4.2.1.6), lower case, optionally `*.` first.
    DnsName, "DNS name", check_dns_san
);

impl SpiffeId {
    /// The trust domain the ID belongs to.
    pub fn trust_domain(&self) -> &str {
        let rest = self.0.strip_prefix("spiffe://").unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }

    /// The path with its leading slash; empty for the trust domain's own ID.
    pub fn path(&self) -> &str {
        let rest = self.0.strip_prefix("spiffe://").unwrap_or_default();
        rest.find('/').map_or("", |slash| &rest[slash..])
    }
}

fn check_file_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 64 {
        return Err("must be 1 to 64 characters long");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')) {
        return Err("may hold only a-z, 0-9, '.', '-' and '_'");
    }
    if !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Err("must begin with a letter or a digit");
    }
    if name == "self" {
        return Err("is reserved: it names the caller's own identity");
    }
    Ok(())
}

fn check_trust_domain(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 255 {
        return Err("must be 1 to 255 characters long");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')) {
        return Err("may hold only a-z, 0-9, '.', '-' and '_'");
    }
    Ok(())
}

fn check_dns_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 253 {
        return Err("must be 1 to 253 characters long");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("must be labels of 1 to 63 characters, joined by dots");
        }
        if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')) {
            return Err("may hold only a-z, 0-9, '-', '_' and dots");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("must not have a label that begins or ends with '-'");
        }
    }
    Ok(())
}

fn check_dns_san(name: &str) -> Result<(), &'static str> {
    if name.parse::<IpAddr>().is_ok() {
        return Err("is an IP address: put it under `ip`");
    }
    check_dns_name(name.strip_prefix("*.").unwrap_or(name))
}

fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    if id.len() > 2048 {
        return Err("is longer than 2048 bytes");
    }
    let Some(rest) = id.strip_prefix("spiffe://") else {
        return Err("must begin with \"spiffe://\"");
    };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    if check_trust_domain(domain).is_err() {
        return Err("must name a trust domain of a-z, 0-9, '.', '-' and '_'");
    }
    for segment in path.into_iter().flat_map(|path| path.split('/')) {
        if matches!(segment, "" | "." | "..") {
            return Err("must not have an empty, '.' or '..' path segment");
        }
        if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err("may hold only letters, digits, '.', '-' and '_' in its path");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "-x", "A", "a\0b", "a b", "self", &"x".repeat(65)] {
            assert!(bad.parse::<IdentityName>().is_err(), "{bad:?}");
        }
        assert!("web-1.prod_x".parse::<IdentityName>().is_ok());
    }

    #[test]
    fn spiffe_ids_follow_the_standard() {
        for good in ["spiffe://example.org", "spiffe://example.org/svc/web", "spiffe://a_b-c.1/Aa0"] {
            assert!(good.parse::<SpiffeId>().is_ok(), "{good:?}");
        }
        for bad in [
            "http://example.org/x",
            "spiffe://",
            "spiffe://Example.org/x",
            "spiffe://example.org/",
            "spiffe://example.org/a//b",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/ä",
            "spiffe://user@example.org/x",
            "spiffe://example.org:80/x",
            "spiffe://example.org/x?y",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad:?}");
        }
        let id: SpiffeId = "spiffe://example.org/svc/web".parse().unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("example.org", "/svc/web"));
    }

    #[test]
    fn an_ip_address_is_not_a_dns_name() {
        assert!("127.0.0.1".parse::<DnsName>().is_err());
        assert!("*.example.org".parse::<DnsName>().is_ok());
        assert!("a.*.example.org".parse::<DnsName>().is_err());
    }
}
