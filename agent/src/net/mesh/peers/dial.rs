//! Opening a connection: each address a little after the one before, so that one that is dead holds up none (RFC 8305).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::client::TlsStream;

use crate::net::tls::{ClientTls, Pin, Secured};

/// For one address: its name, the connection, the handshake.
const EACH: Duration = Duration::from_secs(4);
/// So long after an address the next one is tried too, if there is no connection yet; and the same among those of one name.
const NEXT_ADDRESS: Duration = Duration::from_secs(1);
const NEXT_OF_NAME: Duration = Duration::from_millis(250);
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
    let attempt = |address| async move {
        match tokio::time::timeout(EACH, one(tls, address, name, pin.clone(), http2)).await {
            Ok(Ok(dialled)) => Ok(dialled),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no answer within {} s", EACH.as_secs())),
        }
    };
    let attempts = addresses.iter().take(MAX).map(|address| attempt(address).boxed()).collect();
    first(attempts, NEXT_ADDRESS).await.map_err(|reasons| match reasons.is_empty() {
        true => "no address is known of it; set [gossip] advertise there".to_owned(),
        false => reasons.join("; "),
    })
}

/// What the first attempt that succeeds came to. Each begins once the one before has failed, or has taken `stagger`.
async fn first<T>(attempts: Vec<BoxFuture<'_, Result<T, String>>>, stagger: Duration) -> Result<T, Vec<String>> {
    let (mut attempts, mut running, mut reasons) = (attempts.into_iter(), FuturesUnordered::new(), vec![]);
    loop {
        running.extend(attempts.next());
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(done)) => return Ok(done),
                Some(Err(reason)) => reasons.push(reason),
                None => return Err(reasons),
            },
            () = tokio::time::sleep(stagger), if attempts.len() > 0 => {}
        }
    }
}

async fn one(tls: &ClientTls, address: &str, name: Option<&str>, pin: Pin, http2: bool) -> Result<Dialled, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = server_name(name.unwrap_or(host))?;
    let candidates = lookup_host(address).await.map_err(|error| format!("its name cannot be resolved ({error})"))?;
    let stream = reach(candidates.take(MAX)).await?;
    let _ = stream.set_nodelay(true);
    match tls.connect(stream, name, pin, http2).await {
        Ok((stream, secured)) => Ok(Dialled { stream, secured, address: address.to_owned() }),
        Err(error) => Err(explain(&error)),
    }
}

/// A connection to one of the addresses of a name.
async fn reach(candidates: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, String> {
    let attempt = |candidate| async move { TcpStream::connect(candidate).await.map_err(|error| format!("{candidate}: {error}")) };
    let attempts = candidates.map(|candidate| attempt(candidate).boxed()).collect();
    let failed = |mut reasons: Vec<String>| reasons.pop().unwrap_or_else(|| "its name has no address".to_owned());
    first(attempts, NEXT_OF_NAME).await.map_err(failed)
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// An address at which nobody answers, as behind a firewall that drops: the queue of its listener is full.
    async fn dead() -> (tokio::net::TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let mut queued = vec![];
        let address = listener.local_addr().unwrap();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        (listener, queued)
    }

    #[tokio::test]
    async fn a_living_address_of_a_name_is_reached_though_a_dead_one_comes_first() {
        let dead = dead().await;
        let living = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let candidates = [dead.0.local_addr().unwrap(), living.local_addr().unwrap()];
        let begun = Instant::now();
        let stream = tokio::time::timeout(EACH, reach(candidates.into_iter())).await.expect("in time").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), candidates[1]);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn the_last_of_many_advertised_addresses_has_its_turn() {
        assert!(NEXT_ADDRESS * (MAX as u32 - 1) < super::super::CONNECT);
        let attempts = (0..MAX).map(|number| async move {
            if number < MAX - 1 {
                std::future::pending::<()>().await;
            }
            Ok(number)
        });
        let attempts = attempts.map(FutureExt::boxed).collect();
        assert_eq!(first(attempts, Duration::from_millis(10)).await, Ok(MAX - 1));
        assert_eq!(first::<()>(vec![], NEXT_ADDRESS).await, Err(vec![]));
        let failing = (0..3).map(|number| async move { Err::<(), _>(number.to_string()) }.boxed()).collect();
        assert_eq!(first(failing, NEXT_ADDRESS).await, Err(vec!["0".to_owned(), "1".to_owned(), "2".to_owned()]));
    }
}
