//! What each kind of certificate says (RFC 5280, X509-SVID §4).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::limits::NameConstraints;
use crate::id::{DnsName, NodeId, SpiffeId, TrustDomain};
use crate::mesh::collection::IssuingLimits;
use crate::moment::Moment;
use crate::renewal::Validity;

/// How far `notBefore` lies in the past, so that a peer whose clock is a little behind accepts a fresh certificate.
const BACKDATED: Duration = Duration::from_secs(60);

/// A certificate serial number: 16 bytes, positive, not zero (RFC 5280 §4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// From 16 random bytes. The sign bit is cleared and the next set, so that the length is always the same.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Self(bytes)
    }

    /// The moment in milliseconds, then 80 random bits (CA/Browser Forum BR §7.1 wants 64). Serials made so sort by the
    /// time they were made, which lets the register of certificates grow at its end.
    pub fn at(moment: Moment, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&moment.as_millis().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self::from_random(bytes)
    }

    /// Big-endian.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Tells issuers of one host apart by name: verifiers look up issuers and revocation lists by name alone (RFC 5280
    /// §6.3.3), and take the wrong one for a bad signature.
    fn mark(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[12..])
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.replace(':', "").as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        match bytes {
            Some(bytes) if Self::from_random(bytes).0 == bytes => Ok(Self(bytes)),
            _ => Err(format!(
                "{:?} is not a serial of this agent: 32 hexadecimal digits",
                text.chars().take(80).collect::<String>()
            )),
        }
    }
}

impl serde::Serialize for Serial {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Serial {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Serial {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Serial".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

/// Why a certificate cannot be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The clock stands before the issuer's birth.
    #[error("the clock says {now}, but the certificate authority was made at {born}: set the clock right, then try again")]
    ClockBeforeIssuer {
        /// What the clock says.
        now: Moment,
        /// The issuer's `notBefore`.
        born: Moment,
    },
    /// The issuer has ended.
    #[error("the issuing certificate ended at {ended}: it could not be renewed in time; `agentctl doctor` says why")]
    IssuerEnded {
        /// The issuer's `notAfter`.
        ended: Moment,
    },
}

/// A leaf: one SPIFFE ID (X509-SVID §2), names by rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafTemplate {
    /// Serial.
    pub serial: Serial,
    /// URI SAN.
    pub spiffe_id: SpiffeId,
    /// DNS SANs.
    pub dns: Vec<DnsName>,
    /// IP SANs.
    pub ip: Vec<IpAddr>,
    /// Within the issuer's.
    pub validity: Validity,
}

impl LeafTemplate {
    /// From now for `ttl`, never past the issuer's end nor before its birth.
    pub fn validity(now: Moment, ttl: Duration, issuer: Validity) -> Result<Validity, TemplateError> {
        within(now, ttl, issuer)
    }
}

fn within(now: Moment, ttl: Duration, issuer: Validity) -> Result<Validity, TemplateError> {
    let now = now.truncated_to_secs();
    if now < issuer.not_before {
        return Err(TemplateError::ClockBeforeIssuer { now, born: issuer.not_before });
    }
    if now >= issuer.not_after {
        return Err(TemplateError::IssuerEnded { ended: issuer.not_after });
    }
    Ok(Validity { not_before: now.before(BACKDATED).max(issuer.not_before), not_after: now.after(ttl).min(issuer.not_after) })
}

/// A root: self-signed, no path limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootTemplate {
    /// Serial.
    pub serial: Serial,
    /// Common name.
    pub common_name: String,
    /// URI SAN: the trust domain's own SPIFFE ID (X509-SVID §4.1 wants one in signing certificates).
    pub trust_domain: TrustDomain,
    /// Life.
    pub validity: Validity,
}

impl RootTemplate {
    /// A root of `node` that lives for `ttl` from now.
    pub fn new(serial: Serial, domain: &TrustDomain, node: &NodeId, now: Moment, ttl: Duration) -> Self {
        let now = now.truncated_to_secs();
        Self {
            serial,
            common_name: limited(format!("Reverie root {} of {domain} at {node}", serial.mark())),
            trust_domain: domain.clone(),
            validity: Validity { not_before: now.before(BACKDATED), not_after: now.after(ttl) },
        }
    }
}

/// A host's intermediate: path length 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntermediateTemplate {
    /// Serial.
    pub serial: Serial,
    /// Common name.
    pub common_name: String,
    /// URI SAN.
    pub trust_domain: TrustDomain,
    /// Within the root's.
    pub validity: Validity,
    /// What verifiers hold its holder to; `None` only for the intermediate of a root's own host.
    pub constraints: Option<NameConstraints>,
}

impl IntermediateTemplate {
    /// The intermediate of `node` under a root.
    pub fn new(
        serial: Serial,
        domain: &TrustDomain,
        node: &NodeId,
        now: Moment,
        ttl: Duration,
        root: Validity,
    ) -> Result<Self, TemplateError> {
        Ok(Self {
            serial,
            common_name: limited(format!("Reverie host {} {node}", serial.mark())),
            trust_domain: domain.clone(),
            validity: within(now, ttl, root)?,
            constraints: None,
        })
    }

    /// The same for another host, which is held to `limits`.
    pub fn limited_to(self, limits: &IssuingLimits, node: &NodeId) -> Self {
        Self { constraints: Some(NameConstraints::of(limits, node)), ..self }
    }
}

/// A common name has at most 64 characters (RFC 5280, ub-common-name).
fn limited(mut name: String) -> String {
    name.truncate(64);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: Validity = Validity { not_before: Moment::from_secs(1_000_000), not_after: Moment::from_secs(2_000_000) };

    #[test]
    fn serials_made_later_sort_later_and_read_back_as_written() {
        let serials: Vec<_> =
            (0..400u64).map(|year| Serial::at(Moment::from_secs(year as i64 * 31_557_600), [(year * 97) as u8; 10])).collect();
        assert!(serials.is_sorted());
        assert!(serials.iter().all(|serial| serial.to_string().parse() == Ok(*serial)));
    }

    #[test]
    fn a_leaf_never_outlives_its_issuer() {
        let validity = LeafTemplate::validity(Moment::from_secs(1_900_000), Duration::from_secs(604_800), ISSUER).unwrap();
        assert_eq!(validity.not_after, ISSUER.not_after);
    }

    #[test]
    fn a_leaf_is_backdated_a_minute_but_not_before_its_issuer() {
        let later = LeafTemplate::validity(Moment::from_secs(1_500_000), Duration::from_secs(300), ISSUER).unwrap();
        assert_eq!(later.not_before, Moment::from_secs(1_499_940));
        let at_birth = LeafTemplate::validity(Moment::from_secs(1_000_010), Duration::from_secs(300), ISSUER).unwrap();
        assert_eq!(at_birth.not_before, ISSUER.not_before);
    }

    #[test]
    fn a_clock_before_the_birth_of_the_ca_is_refused_with_what_to_do() {
        let error = LeafTemplate::validity(Moment::from_secs(999_999), Duration::from_secs(300), ISSUER).unwrap_err();
        assert!(error.to_string().contains("set the clock right"), "{error}");
    }

    #[test]
    fn successive_issuers_of_a_host_differ_in_name_even_where_the_name_is_cut() {
        let domain: TrustDomain = "a-rather-long-trust-domain.example.org".parse().unwrap();
        let node: NodeId = "a-host-with-a-long-name.in.a.deep.domain.example.org".parse().unwrap();
        let root = |byte| {
            RootTemplate::new(
                Serial::from_random([byte; 16]),
                &domain,
                &node,
                Moment::from_secs(1_500_000),
                Duration::from_secs(9),
            )
        };
        let intermediate = |byte| {
            let (serial, now) = (Serial::from_random([byte; 16]), Moment::from_secs(1_500_000));
            IntermediateTemplate::new(serial, &domain, &node, now, Duration::from_secs(9), ISSUER).unwrap()
        };
        assert_eq!(root(1).common_name.len(), 64);
        assert_ne!(root(1).common_name, root(2).common_name);
        assert_ne!(intermediate(1).common_name, intermediate(2).common_name);
    }

    #[test]
    fn a_serial_is_positive_and_of_one_length() {
        for bytes in [[0u8; 16], [0xff; 16]] {
            let serial = Serial::from_random(bytes);
            assert!(serial.as_bytes()[0] & 0x80 == 0 && serial.as_bytes()[0] != 0);
            assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
        }
        assert!("00".parse::<Serial>().is_err());
    }
}
