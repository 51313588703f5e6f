//! What a joiner sends. The token's secret stays at home: what travels is a MAC over the joiner's keys and the connection,
//! so that whoever stands between takes nothing away that is of use elsewhere.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::NodeId;
use crate::mesh::crypto::{KemPublicKey, SigningPublicKey};
use crate::mesh::strict::Unreadable;

/// What the MAC begins with.
pub const CONTEXT: &[u8] = b"reverie-join-v1";
/// Label of the TLS exporter (RFC 8446 §7.5); no context, 32 bytes.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-reverie-join";
/// Bytes of a certificate request.
pub const MAX_CSR: usize = 4096;
/// Addresses of a host, and bytes of each.
pub const MAX_ADDRESSES: usize = 8;
/// Bytes of one address.
pub const MAX_ADDRESS: usize = 260;
/// Bytes of a body.
pub const MAX_BODY: usize = 32 << 10;

/// Redeems a token. The secret itself is never sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Who wants to join.
    pub node: NodeId,
    /// Which token; random, not secret.
    pub token_id: [u8; 16],
    /// Its signing key.
    pub signing_key: SigningPublicKey,
    /// Its KEM key.
    pub kem_key: KemPublicKey,
    /// The intermediate it would like signed: a certificate request, DER.
    pub csr: Vec<u8>,
    /// HMAC-SHA-256 by the token's secret over exporter and all of the above: [`authenticate`].
    pub mac: [u8; 32],
    /// TLS exporter of the connection it came over (RFC 8446 §7.5), label `EXPORTER-reverie-join`, as net saw it.
    pub exporter: [u8; 32],
}

/// The body of `POST /api/mesh/join` by token: JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    node: NodeId,
    token_id: Hex<16>,
    signing_key: SigningPublicKey,
    kem_key: KemPublicKey,
    csr: String,
    mac: Hex<32>,
}

/// Bytes as lower-case hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hex<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}

/// The body to post: everything but the exporter, which both ends take from the connection.
pub fn to_body(request: &JoinRequest) -> Vec<u8> {
    let body = Body {
        node: request.node.clone(),
        token_id: Hex(request.token_id),
        signing_key: request.signing_key.clone(),
        kem_key: request.kem_key.clone(),
        csr: data_encoding::BASE64URL_NOPAD.encode(&request.csr),
        mac: Hex(request.mac),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Reads a body; `exporter` is of the connection it came over.
pub fn from_body(body: &[u8], exporter: [u8; 32]) -> Result<JoinRequest, Unreadable> {
    let unreadable = Unreadable { what: "the request to join" };
    if body.len() > MAX_BODY {
        return Err(unreadable);
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| unreadable)?;
    let csr = data_encoding::BASE64URL_NOPAD.decode(body.csr.as_bytes()).map_err(|_| unreadable)?;
    let request = JoinRequest {
        node: body.node,
        token_id: body.token_id.0,
        signing_key: body.signing_key,
        kem_key: body.kem_key,
        csr,
        mac: body.mac.0,
        exporter,
    };
    if is_bounded(&request) { Ok(request) } else { Err(unreadable) }
}

/// Within the bounds of a request.
pub fn is_bounded(request: &JoinRequest) -> bool {
    request.csr.len() <= MAX_CSR
}

/// Within the bounds of a host's addresses.
pub fn are_bounded(addresses: &[String]) -> bool {
    addresses.len() <= MAX_ADDRESSES && addresses.iter().all(|address| !address.is_empty() && address.len() <= MAX_ADDRESS)
}

/// What the MAC is over: each part of changing length after its length, so that no two requests spell the same.
fn parts(request: &JoinRequest, mut add: impl FnMut(&[u8])) {
    add(CONTEXT);
    add(&request.exporter);
    add(&request.token_id);
    add(&(request.node.as_str().len() as u64).to_be_bytes());
    add(request.node.as_str().as_bytes());
    add(&request.signing_key.0);
    add(&request.kem_key.0[..]);
    add(&(request.csr.len() as u64).to_be_bytes());
    add(&request.csr);
}

fn hmac(secret: &[u8; 32], request: &JoinRequest) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    parts(request, |part| mac.update(part));
    Some(mac)
}

/// The MAC that goes into `request.mac`.
pub fn authenticate(secret: &[u8; 32], request: &JoinRequest) -> [u8; 32] {
    hmac(secret, request).map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default()
}

/// True if whoever wrote the request holds the token, over this very connection. In constant time.
pub fn is_authentic(secret: &[u8; 32], request: &JoinRequest) -> bool {
    hmac(secret, request).is_some_and(|mac| mac.verify_slice(&request.mac).is_ok())
}

/// Names a request; its answer repeats it, so that no other answer can stand in.
pub fn binding(request: &JoinRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts(request, |part| hash.update(part));
    hash.finalize().into()
}

/// Names who asks, by its keys, over whichever connection: who repeats a request has the same. The certificate request is left
/// out, since each is signed anew.
pub fn applicant(request: &JoinRequest) -> [u8; 32] {
    let request = JoinRequest { exporter: [0; 32], csr: vec![], ..request.clone() };
    binding(&request)
}

#[cfg(test)]
pub mod tests {
    use super::super::token::tests::token;
    use super::*;

    pub fn request() -> JoinRequest {
        let mut point = [8; 65];
        point[0] = 4;
        let token = token();
        let mut request = JoinRequest {
            node: token.node.clone(),
            token_id: token.id,
            signing_key: SigningPublicKey(point),
            kem_key: KemPublicKey(Box::new([6; 1184])),
            csr: vec![0x30, 3, 1, 2, 3],
            mac: [0; 32],
            exporter: [5; 32],
        };
        request.mac = authenticate(&token.secret, &request);
        request
    }

    #[test]
    fn a_body_reads_back_and_does_not_hold_the_exporter() {
        let body = to_body(&request());
        assert_eq!(from_body(&body, [5; 32]), Ok(request()));
        assert!(!String::from_utf8(body).unwrap().contains("exporter"));
    }

    #[test]
    fn a_mac_taken_on_the_path_is_worth_nothing_on_another_connection() {
        let secret = token().secret;
        let elsewhere = from_body(&to_body(&request()), [4; 32]).unwrap();
        assert!(is_authentic(&secret, &request()) && !is_authentic(&secret, &elsewhere));
    }

    #[test]
    fn nothing_in_a_request_can_be_exchanged() {
        let secret = token().secret;
        let changes: [fn(&mut JoinRequest); 6] = [
            |request| request.node = "web2.example.org".parse().unwrap(),
            |request| request.token_id[0] ^= 1,
            |request| request.signing_key.0[64] ^= 1,
            |request| request.kem_key.0[0] ^= 1,
            |request| request.csr.push(0),
            |request| request.mac[31] ^= 1,
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut changed = request();
            change(&mut changed);
            assert!(!is_authentic(&secret, &changed), "change {at}");
        }
        assert!(!is_authentic(&[0; 32], &request()));
    }

    #[test]
    fn who_asks_again_over_another_connection_is_the_same_applicant() {
        let mut again = request();
        again.exporter = [1; 32];
        again.csr.push(1);
        assert_eq!(applicant(&again), applicant(&request()));
        assert_ne!(binding(&again), binding(&request()));
        again.kem_key.0[0] ^= 1;
        assert_ne!(applicant(&again), applicant(&request()));
    }

    #[test]
    fn a_request_beyond_its_bounds_is_not_read() {
        let mut long = request();
        long.csr = vec![0; MAX_CSR + 1];
        assert!(from_body(&to_body(&long), [5; 32]).is_err());
        assert!(from_body(&vec![b' '; MAX_BODY + 1], [5; 32]).is_err());
        assert!(from_body(b"{\"node\":1}", [5; 32]).is_err());
    }
}
