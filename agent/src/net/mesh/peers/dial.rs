//! Opening a connection: each address in turn, each with its share of the time.

use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::client::TlsStream;

use crate::net::tls::{ClientTls, Pin, Secured};

/// For one address: its name, the connection, the handshake.
const EACH: Duration = Duration::from_secs(4);
/// Addresses tried.
const MAX: usize = 8;

/// A connection with a server whose key is pinned.
#[derive(Debug)]
pub struct Dialled {
    /// It.
    pub stream: TlsStream<TcpStream>,
    /// What the handshake proved.
    pub secured: Secured,
    /// `host:port`, as it was given.
    pub address: String,
}

/// Connects to the first address that answers with the right key.
pub async fn dial(tls: &ClientTls, addresses: &[String], name: Option<&str>, pin: &Pin, http2: bool) -> Result<Dialled, String> {
    let mut reasons = Vec::new();
    for address in addresses.iter().take(MAX) {
        match tokio::time::timeout(EACH, one(tls, address, name, pin.clone(), http2)).await {
            Ok(Ok(dialled)) => return Ok(dialled),
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!("{address}: no answer within {} s", EACH.as_secs())),
        }
    }
    match reasons.is_empty() {
        true => Err("no address is known of it; set [gossip] advertise there".to_owned()),
        false => Err(reasons.join("; ")),
    }
}

async fn one(tls: &ClientTls, address: &str, name: Option<&str>, pin: Pin, http2: bool) -> Result<Dialled, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = server_name(name.unwrap_or(host))?;
    let candidates = lookup_host(address).await.map_err(|error| format!("its name cannot be resolved ({error})"))?;
    let mut last = "its name has no address".to_owned();
    for candidate in candidates.take(MAX) {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return match tls.connect(stream, name, pin, http2).await {
                    Ok((stream, secured)) => Ok(Dialled { stream, secured, address: address.to_owned() }),
                    Err(error) => Err(explain(&error)),
                };
            }
            Err(error) => last = format!("{candidate}: {error}"),
        }
    }
    Err(last)
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no host name")),
    }
}

/// A handshake's error in words of ours where it is one that people meet.
fn explain(error: &std::io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "it presented another key than the one that is pinned for it: someone is in between, or it was set up anew and \
             has to be readmitted"
                .to_owned()
        }
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure)) => {
            format!("it does not speak TLS 1.3 with X25519MLKEM768 ({error}); upgrade its agent")
        }
        _ => format!("the handshake failed ({error})"),
    }
}
