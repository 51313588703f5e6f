//! Becoming a member: by a one-time token, or by Kerberos. Who we are, the keeper's request says: there is no mesh yet.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reverie_core::id::NodeId;
use reverie_core::ipc::net::{Reply, Request as Ask};
use reverie_core::mesh::crypto::SigningPublicKey;
use reverie_core::mesh::message::{Content, Expected, Message, Nonce, WIRE};
use zeroize::Zeroizing;

use super::super::endpoint::CMS;
use super::super::exchange::refused;
use super::super::peers::{Asking, Connection, dial};
use super::super::sealing::{self, SealingError};
use super::super::state::Net;
use super::pulling::MAX_ANSWER;
use crate::net::clock;
use crate::net::tls::{ClientTls, Pin};

/// The keeper prepares keys, or asks the KDC.
const PREPARE: Duration = Duration::from_secs(30);

async fn connect(address: &str, pin: Pin) -> Result<Connection, String> {
    let dialled = dial(&ClientTls::anonymous(), &[address.to_owned()], None, &pin, true).await?;
    Connection::over(dialled).await
}

async fn ask(connection: &Connection, asking: Asking<'_>) -> Result<(HeaderMap, Vec<u8>), String> {
    match connection.ask(asking).await.map_err(|error| error.text)? {
        (200, headers, body) => Ok((headers, body)),
        (status, _, body) => Err(refused(status, &body)),
    }
}

/// Redeems a token at the host that made it. The answer is opened here, and judged by the keeper.
pub async fn by_token(net: &Net, task: u64, address: &str, server_key: SigningPublicKey) -> Result<Vec<u8>, String> {
    let connection = connect(address, Pin::Keys(vec![server_key])).await?;
    let (node, body) = match net.keeper.ask(&Ask::PrepareJoin { task, exporter: connection.secured.exporter }, PREPARE).await {
        Ok(Reply::Body { node, body }) => (node, body),
        Ok(other) => return Err(said(other)),
        Err(error) => return Err(error.to_string()),
    };
    let asking = Asking::post("/api/mesh/join", "application/json", body, MAX_ANSWER);
    let (_, answer) = ask(&connection, asking).await?;
    match open(net, &answer, &connection.key, &node, None).await?.content {
        Content::Join(payload) => Ok(payload.to_vec()),
        _ => Err("it answered with another kind of message".to_owned()),
    }
}

/// Registers by Kerberos, then asks for what a joiner gets. That the server is who we mean, its AP-REP proves, over this
/// connection's certificate; the keeper sees to that in `FinishKerberos`.
pub async fn by_kerberos(net: &Net, task: u64, address: &str) -> Result<Vec<u8>, String> {
    let connection = connect(address, Pin::ByKerberos).await?;
    let channel_binding = connection.secured.server_certificate;
    let (us, kid, token, body) = match net.keeper.ask(&Ask::PrepareKerberos { task, channel_binding }, PREPARE).await {
        Ok(Reply::Kerberos { node, kid, token, body }) => (node, kid, token, body),
        Ok(other) => return Err(said(other)),
        Err(error) => return Err(error.to_string()),
    };

    let mut asking = Asking::post("/api/gossip/register-kem", "application/json", body, 64 * 1024);
    let authorization = format!("Negotiate {}", data_encoding::BASE64.encode(&token));
    let mut authorization = HeaderValue::from_str(&authorization).map_err(|error| error.to_string())?;
    authorization.set_sensitive(true);
    asking.headers.insert(AUTHORIZATION, authorization);
    let (headers, answer) = ask(&connection, asking).await?;
    let token = proof(&headers).ok_or("it sent no Kerberos token that proves who it is")?;

    let (recipient, payload) = match net.keeper.ask(&Ask::FinishKerberos { task, token, answer }, PREPARE).await {
        Ok(Reply::Sealable { recipient, payload }) => (recipient, Zeroizing::new(payload)),
        Ok(other) => return Err(said(other)),
        Err(error) => return Err(error.to_string()),
    };
    let now = clock::now();
    let nonce = sealing::nonce(net).map_err(text)?;
    let server = server_name(address)?;
    let message = Message {
        // What the other side speaks is not known; it answers in the same.
        version: *WIRE.start(),
        // Not known yet: what is inside says so, too.
        mesh: [0; 16],
        sender: us.clone(),
        recipient: server,
        epoch: now.as_millis().unsigned_abs(),
        nonce,
        in_reply_to: None,
        issued_at: now,
        content: Content::Renewal(payload),
    };
    let sealed = sealing::seal(net, &message, &kid, &recipient).await.map_err(text)?;
    let (_, answer) = ask(&connection, Asking::post("/api/mesh/join", CMS, sealed, MAX_ANSWER)).await?;
    match open(net, &answer, &connection.key, &us, Some(&nonce)).await?.content {
        Content::Renewal(payload) => Ok(payload.to_vec()),
        _ => Err("it answered with another kind of message".to_owned()),
    }
}

fn text(error: SealingError) -> String {
    error.to_string()
}

/// What the keeper says in place of what was asked of it.
fn said(reply: Reply) -> String {
    match reply {
        Reply::Refused { message, .. } | Reply::Failed { message } => message,
        other => format!("the keeper answered something else: {other:?}"),
    }
}

/// From `WWW-Authenticate: Negotiate …`.
fn proof(headers: &HeaderMap) -> Option<Vec<u8>> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut tokens =
        values.filter_map(|value| value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("negotiate")));
    data_encoding::BASE64.decode(tokens.next()?.1.trim().as_bytes()).ok()
}

/// Kerberos goes by the server's name, so the address must be one.
fn server_name(address: &str) -> Result<NodeId, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.parse().map_err(|_| format!("{host:?} is no host name; Kerberos needs the name of the host to join"))
}

async fn open(net: &Net, body: &[u8], key: &SigningPublicKey, us: &NodeId, nonce: Option<&Nonce>) -> Result<Message, String> {
    let plaintext = sealing::open(net, body, MAX_ANSWER, key).await.map_err(|error| format!("its answer is no good: {error}"))?;
    let expected = Expected { mesh: None, sender: None, recipient: us, in_reply_to: nonce, newest_wire: *WIRE.start() };
    Message::unpack(&plaintext, &expected, clock::now()).map_err(|error| format!("its answer is no good: {error}"))
}
