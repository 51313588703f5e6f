//! The token: one line that names the mesh, pins the keys of the host that made it, and holds a secret that is never sent.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::id::{NodeId, TrustDomain};
use crate::mesh::crypto::{Kid, SigningPublicKey};
use crate::mesh::strict;
use crate::moment::Moment;

/// Every token begins with it.
pub const PREFIX: &str = "reverie-join-";
/// A longer line is refused before it is looked at.
pub const MAX_LINE: usize = 2048;
/// The shape after the prefix.
const VERSION: u8 = 1;
/// Bytes of SHA-256 at the end, against slips of the hand; nobody is kept out by them.
const CHECKSUM: usize = 4;

/// What the line says.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Which token; not secret.
    pub id: [u8; 16],
    /// Proves possession of the token; never sent.
    pub secret: Zeroizing<[u8; 32]>,
    /// The mesh, and through it the founder's key: see [`super::answer::mesh_id`].
    pub mesh: [u8; 16],
    /// Its trust domain.
    pub trust_domain: TrustDomain,
    /// Who may redeem it.
    pub node: NodeId,
    /// Who made it, and redeems it.
    pub issuer: NodeId,
    /// The key that the issuer must present: any other member chains to the same roots.
    pub issuer_key: SigningPublicKey,
    /// Name of the issuer's KEM key.
    pub issuer_kem: Kid,
    /// When it ends.
    pub expires_at: Moment,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &data_encoding::HEXLOWER.encode(&self.id))
            .field("node", &self.node)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Why a line is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else altogether.
    #[error("this is not a join token: it does not begin with \"{PREFIX}\"; pass the line that `agentctl mesh invite` printed")]
    Prefix,
    /// A slip, or a part.
    #[error("the join token was cut off or mistyped; copy the whole line that `agentctl mesh invite` printed")]
    Damaged,
    /// Of another version of Reverie.
    #[error("the join token is of another version of Reverie; use the same version on both hosts")]
    Version,
}

/// As in the line.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Wire {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    id: [u8; 16],
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    mesh: [u8; 16],
    #[n(3)]
    trust_domain: TrustDomain,
    #[n(4)]
    node: NodeId,
    #[n(5)]
    issuer: NodeId,
    #[n(6)]
    issuer_key: SigningPublicKey,
    #[n(7)]
    issuer_kem: Kid,
    #[n(8)]
    expires_at: Moment,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Token {
    /// The line.
    pub fn to_line(&self) -> Zeroizing<String> {
        let wire = Wire {
            id: self.id,
            secret: *self.secret,
            mesh: self.mesh,
            trust_domain: self.trust_domain.clone(),
            node: self.node.clone(),
            issuer: self.issuer.clone(),
            issuer_key: self.issuer_key.clone(),
            issuer_kem: self.issuer_kem,
            expires_at: self.expires_at,
        };
        // Room for all of it: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LINE));
        bytes.push(VERSION);
        let _ = minicbor::encode(&wire, &mut *bytes);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let mut line = Zeroizing::new(String::with_capacity(MAX_LINE));
        line.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut line);
        line
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(line: &str) -> Result<Self, TokenError> {
        let line = line.trim();
        let text = line.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if line.len() > MAX_LINE {
            return Err(TokenError::Damaged);
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged)?);
        let at = bytes.len().checked_sub(CHECKSUM).ok_or(TokenError::Damaged)?;
        let (body, sum) = bytes.split_at(at);
        if checksum(body) != sum {
            return Err(TokenError::Damaged);
        }
        let (&VERSION, cbor) = body.split_first().ok_or(TokenError::Damaged)? else { return Err(TokenError::Version) };
        let wire: Wire = strict::decode(cbor, MAX_LINE, "the join token").map_err(|_| TokenError::Version)?;
        Ok(Self {
            id: wire.id,
            secret: Zeroizing::new(wire.secret),
            mesh: wire.mesh,
            trust_domain: wire.trust_domain.clone(),
            node: wire.node.clone(),
            issuer: wire.issuer.clone(),
            issuer_key: wire.issuer_key.clone(),
            issuer_kem: wire.issuer_kem,
            expires_at: wire.expires_at,
        })
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&Sha256::digest(bytes)[..CHECKSUM]);
    sum
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn token() -> Token {
        let mut point = [9; 65];
        point[0] = 4;
        Token {
            id: [1; 16],
            secret: Zeroizing::new([0xa5; 32]),
            mesh: [3; 16],
            trust_domain: "example.org".parse().unwrap(),
            node: "web1.example.org".parse().unwrap(),
            issuer: "first.example.org".parse().unwrap(),
            issuer_key: SigningPublicKey(point),
            issuer_kem: Kid([7; 20]),
            expires_at: Moment::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn a_token_is_one_line_of_a_few_hundred_characters_that_reads_back() {
        let line = token().to_line();
        assert!(line.starts_with(PREFIX) && line.len() < 500, "{}", line.len());
        assert!(line.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
        assert_eq!(format!("  {}\n", *line).parse(), Ok(token()));
    }

    #[test]
    fn the_longest_names_fit() {
        let label = "a".repeat(62);
        let name = [label.as_str(); 4].join(".");
        let mut token = token();
        (token.node, token.issuer) = (name.parse().unwrap(), name.parse().unwrap());
        token.trust_domain = "d".repeat(255).parse().unwrap();
        assert_eq!(token.to_line().parse(), Ok(token));
    }

    #[test]
    fn a_slip_anywhere_in_the_line_is_told_as_one() {
        let line = token().to_line();
        for at in PREFIX.len()..line.len() {
            let mut typed = line.as_bytes().to_vec();
            typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(typed.parse::<Token>(), Err(TokenError::Damaged), "at {at}");
        }
        for end in PREFIX.len()..line.len() {
            assert_eq!(line[..end].parse::<Token>(), Err(TokenError::Damaged));
        }
    }

    #[test]
    fn what_is_no_token_is_told_what_a_token_looks_like() {
        for other in ["", "hello", "eyJhbGciOiJub25lIn0", "Reverie-Join-AAAA"] {
            let error = other.parse::<Token>().unwrap_err();
            assert_eq!(error, TokenError::Prefix);
            assert!(error.to_string().contains("agentctl mesh invite"));
        }
        let endless = format!("{PREFIX}{}", "A".repeat(1 << 20));
        assert_eq!(endless.parse::<Token>(), Err(TokenError::Damaged));
    }

    #[test]
    fn a_token_of_another_version_is_told_as_such() {
        let line = token().to_line();
        let mut bytes = URL_SAFE_NO_PAD.decode(&line[PREFIX.len()..]).unwrap();
        bytes.truncate(bytes.len() - CHECKSUM);
        bytes[0] = 2;
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let line = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(line.parse::<Token>(), Err(TokenError::Version));
    }

    #[test]
    fn the_secret_is_not_shown_in_debug() {
        let shown = format!("{:?}", token());
        assert!(!shown.contains("165") && !shown.contains("a5a5"), "{shown}");
    }
}
