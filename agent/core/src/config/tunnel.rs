//! Tunnels as the operator declares them: plain on this host, mutual TLS to another, whose identity decides.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::ConfigError;
use super::gossip::is_host_and_port;
use super::merge::Document;
use crate::id::{IdentityName, SpiffeId, TrustDomain, TunnelName};

/// Tunnels of one host.
pub const MAX_TUNNELS: usize = 256;
/// Peers of one tunnel.
const MAX_PEERS: usize = 256;
/// Of each limit.
const MAX_CONNECTIONS: u32 = 500_000;
/// A year.
const MAX_SECONDS: u32 = 31_536_000;

/// A `[[tunnel]]` as it is written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTunnel {
    /// Name; also of its socket, `RUN/tunnels/NAME.sock`.
    #[schemars(with = "TunnelName")]
    pub(super) name: Spanned<TunnelName>,
    /// The identity it shows to the other side, and that a local caller must have.
    #[schemars(with = "IdentityName")]
    pub(super) identity: Spanned<IdentityName>,
    /// Where connections come from: `unix` (its socket), `tcp:ADDRESS:PORT` or `tls:ADDRESS:PORT`. Default `unix`.
    #[schemars(with = "Option<String>")]
    pub(super) accept: Option<Spanned<Accept>>,
    /// Where they go: `tls:HOST:PORT`, `tcp:HOST:PORT` or `unix:/PATH`. Exactly one of the two ends is `tls`.
    #[schemars(with = "String")]
    pub(super) connect: Spanned<Connect>,
    /// Who may be at the other end of the TLS: SPIFFE IDs, or `spiffe://…/*` for all below a path.
    #[schemars(with = "Vec<String>")]
    pub(super) peers: Spanned<Vec<PeerPattern>>,
    /// `prefer-hybrid` takes X25519MLKEM768, and X25519 with who cannot; `hybrid` takes nothing less; `x25519` is without.
    #[serde(default)]
    pub(super) key_exchange: KeyExchange,
    /// `accept = "tcp:…"` on another address than loopback: whoever reaches it on the network is the service.
    #[serde(default)]
    pub(super) network_is_the_service: bool,
    /// Connections at once. Default 16384.
    #[schemars(with = "Option<u32>")]
    pub(super) max_connections: Option<Spanned<u32>>,
    /// Of them, for one local user or one address on the network. Default: all.
    #[schemars(with = "Option<u32>")]
    pub(super) max_connections_each: Option<Spanned<u32>>,
    /// A connection is closed when it is so old, or up to a tenth younger. Default: never.
    #[schemars(with = "Option<u32>")]
    pub(super) max_connection_seconds: Option<Spanned<u32>>,
}

/// A declared tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Name.
    pub name: TunnelName,
    /// What it shows.
    pub identity: IdentityName,
    /// Where connections come from.
    pub accept: Accept,
    /// Where they go.
    pub connect: Connect,
    /// Who may be at the other end of the TLS.
    pub peers: Vec<PeerPattern>,
    /// How keys are agreed on.
    pub key_exchange: KeyExchange,
    /// The network reaches its plain end.
    pub network_is_the_service: bool,
    /// Connections at once.
    pub max_connections: u32,
    /// Of them, for one local user or one address.
    pub max_connections_each: u32,
    /// Age at which a connection is closed.
    pub max_connection_seconds: Option<u32>,
    /// `file:line:column` of its name, for messages.
    pub declared_at: String,
}

impl Tunnel {
    /// True if it shakes hands as the client.
    pub fn is_client(&self) -> bool {
        matches!(self.connect, Connect::Tls(_))
    }

    /// True if that SPIFFE ID may be at the other end.
    pub fn admits(&self, id: &SpiffeId) -> bool {
        self.peers.iter().any(|pattern| pattern.admits(id))
    }

    /// How long a connection may last; up to a tenth less, by `random`, so that many do not end together.
    pub fn lifetime(&self, random: u16) -> Option<Duration> {
        let most = Duration::from_secs(self.max_connection_seconds?.into());
        Some(most - most / 10 * u32::from(random) / u32::from(u16::MAX))
    }

    /// What everyone should know of its plain end, if it is open to more than attested callers.
    pub fn exposure(&self) -> Option<String> {
        let Accept::Tcp(address) = &self.accept else { return None };
        let who = if address.ip().is_loopback() { "process on this host" } else { "machine and process" };
        Some(format!("any {who} that reaches {address} is the service: it speaks as the identity {:?}", self.identity))
    }
}

/// Where connections come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Accept {
    /// A socket of the agent's own, whose callers are attested.
    Unix,
    /// Plain TCP: whoever reaches it.
    Tcp(SocketAddr),
    /// Mutual TLS.
    Tls(SocketAddr),
}

/// Where they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Connect {
    /// A service's unix socket, by its absolute path.
    Unix(String),
    /// A service's port.
    Tcp(String),
    /// The other end of the tunnel.
    Tls(String),
}

/// `[::1]:6379`, `127.0.0.1:6379`.
fn listening(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(format!("{text:?} is not an address to listen on, such as \"127.0.0.1:6379\" or \"[::]:7443\"")),
    }
}

fn target(text: &str) -> Result<String, String> {
    let address = text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
    match address || is_host_and_port(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not \"host:port\"")),
    }
}

impl FromStr for Accept {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "unix" => Ok(Self::Unix),
            Some(("tcp", address)) => Ok(Self::Tcp(listening(address)?)),
            Some(("tls", address)) => Ok(Self::Tls(listening(address)?)),
            _ => Err(format!(
                "{text:?} is not where connections can come from: \"unix\", \"tcp:ADDRESS:PORT\" or \"tls:ADDRESS:PORT\""
            )),
        }
    }
}

impl FromStr for Connect {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            // 107 bytes: sun_path.
            Some(("unix", path)) if path.starts_with('/') && path.len() < 108 && !path.contains('\0') => {
                Ok(Self::Unix(path.to_owned()))
            }
            Some(("unix", path)) => Err(format!("{path:?} is not the absolute path of a socket, of at most 107 bytes")),
            Some(("tcp", address)) => Ok(Self::Tcp(target(address)?)),
            Some(("tls", address)) => Ok(Self::Tls(target(address)?)),
            _ => Err(format!("{text:?} is not where connections can go: \"tls:HOST:PORT\", \"tcp:HOST:PORT\" or \"unix:/PATH\"")),
        }
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Tls(address) => write!(f, "tls:{address}"),
        }
    }
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Tls(address) => write!(f, "tls:{address}"),
        }
    }
}

/// Who may be at the other end: one SPIFFE ID, or all below a path, by whole segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PeerPattern {
    /// This one.
    Exact(SpiffeId),
    /// Those with at least one more segment.
    Below(SpiffeId),
}

impl PeerPattern {
    /// Is it that one?
    pub fn admits(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(exact) => exact == id,
            Self::Below(above) => id.as_str().strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/')),
        }
    }

    fn id(&self) -> &SpiffeId {
        let (Self::Exact(id) | Self::Below(id)) = self;
        id
    }
}

impl FromStr for PeerPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |id: &str| id.parse::<SpiffeId>().map_err(|error| error.to_string());
        match text.strip_suffix("/*") {
            Some(above) => Ok(Self::Below(parse(above)?)),
            None => Ok(Self::Exact(parse(text)?)),
        }
    }
}

impl fmt::Display for PeerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => id.fmt(f),
            Self::Below(id) => write!(f, "{id}/*"),
        }
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}
as_text!(Accept, Connect, PeerPattern);

/// How keys are agreed on (RFC 8446 §4.2.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum KeyExchange {
    /// X25519MLKEM768, and X25519 with who cannot.
    #[default]
    #[serde(rename = "prefer-hybrid")]
    PreferHybrid,
    /// X25519MLKEM768 or nothing.
    #[serde(rename = "hybrid")]
    Hybrid,
    /// X25519.
    #[serde(rename = "x25519")]
    X25519,
}

pub(super) fn check(
    source: &Document<'_>,
    domain: &TrustDomain,
    raw: RawTunnel,
    declared_at: String,
) -> Result<Tunnel, ConfigError> {
    let accept = raw.accept.as_ref().map_or(Accept::Unix, |accept| accept.get_ref().clone());
    let at_accept = |message: &str| match &raw.accept {
        Some(accept) => source.error(accept, message),
        None => source.error(&raw.name, message),
    };
    match (matches!(accept, Accept::Tls(_)), matches!(raw.connect.get_ref(), Connect::Tls(_))) {
        (true, true) => return Err(at_accept("both ends are `tls`: one of them faces this host, and is `unix` or `tcp`")),
        (false, false) => return Err(at_accept("neither end is `tls`: one of them faces the other host")),
        _ => {}
    }
    if let Accept::Tcp(address) = accept
        && !address.ip().is_loopback()
        && !raw.network_is_the_service
    {
        return Err(at_accept(&format!(
            "{address} is not a loopback address: any machine that reaches it would be the service. Listen on 127.0.0.1 or ::1, \
             or say `network_is_the_service = true`"
        )));
    }
    match raw.peers.get_ref() {
        peers if peers.is_empty() => {
            return Err(
                source.error(&raw.peers, "an empty list lets nobody in: name the SPIFFE IDs that may be at the other end")
            );
        }
        peers if peers.len() > MAX_PEERS => return Err(source.error(&raw.peers, format!("there may be at most {MAX_PEERS}"))),
        peers => {
            if let Some(foreign) = peers.iter().find(|peer| peer.id().trust_domain() != domain.as_str()) {
                let message = format!("\"{foreign}\" is not in this host's trust domain {:?}", domain.as_str());
                return Err(source.error(&raw.peers, message));
            }
            if let Some(itself) = peers.iter().find(|peer| matches!(peer, PeerPattern::Exact(id) if id.path().is_empty())) {
                let message =
                    format!("\"{itself}\" is the trust domain itself, which nobody is: add a path, or \"/*\" for all in it");
                return Err(source.error(&raw.peers, message));
            }
        }
    }
    let limit = |given: &Option<Spanned<u32>>, most: u32| match given {
        None => Ok(None),
        Some(limit) if (1..=most).contains(limit.get_ref()) => Ok(Some(*limit.get_ref())),
        Some(limit) => Err(source.error(limit, format!("it must be from 1 to {most}"))),
    };
    let max_connections = limit(&raw.max_connections, MAX_CONNECTIONS)?.unwrap_or(16_384);
    let each = limit(&raw.max_connections_each, MAX_CONNECTIONS)?.unwrap_or(max_connections);
    Ok(Tunnel {
        accept,
        connect: raw.connect.into_inner(),
        peers: raw.peers.into_inner(),
        key_exchange: raw.key_exchange,
        network_is_the_service: raw.network_is_the_service,
        max_connections,
        max_connections_each: each.min(max_connections),
        max_connection_seconds: limit(&raw.max_connection_seconds, MAX_SECONDS)?,
        identity: raw.identity.into_inner(),
        name: raw.name.into_inner(),
        declared_at,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Source, parse};
    use super::*;

    const IDENTITY: &str = "trust_domain = \"example.org\"\n[[identity]]\nname = \"web\"\nmatch = { uid = 1 }\n";

    fn config(tunnel: &str) -> Result<Config, ConfigError> {
        parse(Source { file: "t", text: &format!("{IDENTITY}[[tunnel]]\nname = \"redis\"\nidentity = \"web\"\n{tunnel}") }, &[])
    }

    #[test]
    fn a_tunnel_listens_on_a_socket_of_its_own_unless_it_is_told_otherwise() {
        let config = config("connect = \"tls:db1.example.org:7443\"\npeers = [\"spiffe://example.org/svc/redis\"]\n").unwrap();
        let tunnel = &config.tunnels[0];
        assert_eq!((&tunnel.accept, tunnel.is_client(), tunnel.exposure()), (&Accept::Unix, true, None));
    }

    #[test]
    fn a_plain_port_says_that_whoever_reaches_it_is_the_service() {
        let rest = "connect = \"tls:[2001:db8::1]:7443\"\npeers = [\"spiffe://example.org/*\"]\n";
        let config = config(&format!("accept = \"tcp:127.0.0.1:6379\"\n{rest}")).unwrap();
        assert!(
            config.tunnels[0].exposure().unwrap().contains("any process on this host that reaches 127.0.0.1:6379 is the service")
        );
    }

    #[test]
    fn what_would_let_in_nobody_or_anybody_is_refused() {
        let peers = "peers = [\"spiffe://example.org/svc/redis\"]\n";
        for (tunnel, expected) in [
            ("connect = \"tls:a:1\"\npeers = []\n".to_owned(), "an empty list lets nobody in"),
            ("connect = \"tls:a:1\"\n".to_owned(), "missing field `peers`"),
            (format!("connect = \"tcp:127.0.0.1:6379\"\n{peers}"), "neither end is `tls`"),
            (format!("accept = \"tls:0.0.0.0:1\"\nconnect = \"tls:a:1\"\n{peers}"), "both ends are `tls`"),
            (format!("accept = \"tcp:0.0.0.0:6379\"\nconnect = \"tls:a:1\"\n{peers}"), "is not a loopback address"),
            (format!("accept = \"tcp:localhost:6379\"\nconnect = \"tls:a:1\"\n{peers}"), "is not an address to listen on"),
            (format!("accept = \"unix:/tmp/x\"\nconnect = \"tls:a:1\"\n{peers}"), "is not where connections can come from"),
            (format!("accept = \"tls:0.0.0.0:1\"\nconnect = \"unix:redis.sock\"\n{peers}"), "is not the absolute path"),
            (format!("connect = \"tls:a\"\n{peers}"), "is not \"host:port\""),
            ("connect = \"tls:a:1\"\npeers = [\"*\"]\n".to_owned(), "must begin with"),
            ("connect = \"tls:a:1\"\npeers = [\"spiffe://example.org/svc/web*\"]\n".to_owned(), "may hold only letters"),
            ("connect = \"tls:a:1\"\npeers = [\"spiffe://example.org\"]\n".to_owned(), "is the trust domain itself"),
            (
                "connect = \"tls:a:1\"\npeers = [\"spiffe://other.org/svc/redis\"]\n".to_owned(),
                "is not in this host's trust domain",
            ),
            (format!("connect = \"tls:a:1\"\nmax_connections = 0\n{peers}"), "it must be from 1 to"),
            (format!("connect = \"tls:a:1\"\nmax_connection_seconds = 0\n{peers}"), "it must be from 1 to 31536000"),
            (format!("connect = \"tls:a:1\"\nmax_connection_seconds = 31536001\n{peers}"), "it must be from 1 to 31536000"),
            (format!("connect = \"tls:a:1\"\npassword = \"x\"\n{peers}"), "unknown field `password`"),
        ] {
            let error = config(&tunnel).unwrap_err().to_string();
            assert!(error.contains(expected), "{tunnel}: {error}");
        }
        let error = config(&format!(
            "connect = \"tls:a:1\"\n{peers}[[tunnel]]\nname = \"redis\"\nidentity = \"web\"\nconnect = \"tls:a:1\"\n{peers}"
        ));
        assert!(error.unwrap_err().to_string().contains("already declared at t:6:8"));
        let unknown = IDENTITY.replace("\"web\"", "\"other\"")
            + "[[tunnel]]\nname = \"a\"\nidentity = \"web\"\nconnect = \"tls:a:1\"\n"
            + peers;
        let error = parse(Source { file: "t", text: &unknown }, &[]).unwrap_err().to_string();
        assert!(error.contains("names the identity \"web\", which is not declared"), "{error}");
    }

    #[test]
    fn connections_end_by_their_age_if_they_are_to_and_not_all_at_once() {
        let rest = "connect = \"tls:a:1\"\npeers = [\"spiffe://example.org/*\"]\n";
        assert_eq!(config(rest).unwrap().tunnels[0].lifetime(7), None);
        let ends = config(&format!("{rest}max_connection_seconds = 1000\n")).unwrap();
        let lifetime = |random| ends.tunnels[0].lifetime(random).unwrap().as_secs_f64();
        assert_eq!((lifetime(0), lifetime(u16::MAX)), (1000.0, 900.0));
        assert!((949.0..951.0).contains(&lifetime(u16::MAX / 2)));
        let longest = config(&format!("{rest}max_connection_seconds = {MAX_SECONDS}\n")).unwrap();
        assert!(longest.tunnels[0].lifetime(u16::MAX).unwrap() < Duration::from_secs(MAX_SECONDS.into()));
    }

    fn id(path: &str) -> SpiffeId {
        format!("spiffe://example.org{path}").parse().unwrap()
    }

    #[test]
    fn a_prefix_is_by_whole_segments_and_does_not_hold_itself() {
        let below: PeerPattern = "spiffe://example.org/svc/*".parse().unwrap();
        assert!(below.admits(&id("/svc/web")) && below.admits(&id("/svc/web/a")));
        for stranger in ["/svc", "/svcs/web", "", "/a/svc/web"] {
            assert!(!below.admits(&id(stranger)), "{stranger}");
        }
        assert!(!below.admits(&"spiffe://example.org.evil.org/svc/web".parse().unwrap()));
        let all: PeerPattern = "spiffe://example.org/*".parse().unwrap();
        assert!(all.admits(&id("/x")) && !all.admits(&id("")));
        assert!(!all.admits(&"spiffe://example.orgs/x".parse().unwrap()));
        let exact: PeerPattern = "spiffe://example.org/svc/web".parse().unwrap();
        assert!(exact.admits(&id("/svc/web")) && !exact.admits(&id("/svc/web/a")) && !exact.admits(&id("/svc/webs")));
    }

    proptest::proptest! {
        /// By segments is by segments, however they are cut.
        #[test]
        fn a_prefix_admits_what_its_segments_begin(above in "(/[ab]{1,2}){0,3}", path in "(/[ab]{1,2}){0,4}") {
            let pattern: PeerPattern = format!("spiffe://example.org{above}/*").parse().unwrap();
            let segments = |text: &str| text.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
            let (above, segments) = (segments(&above), segments(&path));
            let expected = segments.len() > above.len() && segments.starts_with(&above);
            proptest::prop_assert_eq!(pattern.admits(&id(&path)), expected);
        }

        #[test]
        fn what_is_written_is_read_again(text in "(unix|tcp|tls)(:[a-z0-9./\\[\\]:]{0,12})?") {
            if let Ok(connect) = text.parse::<Connect>() {
                proptest::prop_assert_eq!(connect.to_string(), text.clone());
            }
            if let Ok(accept) = text.parse::<Accept>() {
                proptest::prop_assert_eq!(accept.to_string().parse::<Accept>().unwrap(), accept);
            }
        }
    }
}
