//! `[gossip]`: the mesh, its listener, who may take part, and the times of its rounds.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::ConfigError;
use super::merge::Document;
use crate::id::NodeId;
use crate::mesh::join::request::MAX_ADDRESSES;
use crate::mesh::message::WIRE;
use crate::moment::Span;

/// Where the mesh is spoken unless the configuration says otherwise.
pub const PORT: u16 = 7438;
/// Names on the static list.
const MAX_ALLOWED: usize = 4096;
/// Directory servers.
const MAX_URIS: usize = 8;

/// The mesh. Nothing listens before this host has founded or joined one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gossip {
    /// Addresses to listen on. Empty: this host only calls others.
    pub listen: Vec<SocketAddr>,
    /// `host:port`s under which others reach this host. Default: `NODE_ID:PORT`, with the port of the first listener.
    pub advertise: Vec<String>,
    /// Hosts that may take part, beside those of the topology. With neither, the admissions decide; an empty list
    /// denies all.
    pub allowed_node_ids: Option<Vec<NodeId>>,
    /// Also let hosts take part that the directory names as replicas.
    pub ipa_topology: bool,
    /// Seconds between two looks at the directory: 10 to 86,400.
    pub ipa_topology_interval_secs: u32,
    /// `ldap://` (then StartTLS), `ldaps://` or `ldapi://`, tried in order.
    pub ipa_ldap_uris: Vec<String>,
    /// The directory's suffix, e.g. `dc=example,dc=org`.
    pub ipa_suffix: Option<String>,
    /// PEM file of the certificates that the directory's must chain to. Default: the system's.
    pub ipa_ca_file: Option<String>,
    /// Name to bind with. Default: anonymous.
    pub ipa_bind_dn: Option<String>,
    /// File with the password of `ipa_bind_dn`; only the agent may read it.
    pub ipa_bind_password_file: Option<String>,
    /// Realm of hosts that register by Kerberos. Default: that of the keytab's own service.
    pub kerberos_realm: Option<String>,
    /// Keytab with this host's `HTTP/` key. Without one nobody registers by Kerberos.
    pub keytab: Option<String>,
    /// This host's principal. Default: `HTTP/NODE_ID`.
    pub kerberos_principal: Option<String>,
    /// Hosts that registered by Kerberos need an authority's word: an open invitation (`agentctl mesh invite`).
    pub kerberos_needs_confirmation: bool,
    /// `/api/gossip/stats` answers everyone.
    pub public_stats: bool,
    /// Largest body of `/api/gossip/sync`, in bytes: 65,536 to 6,291,456.
    pub max_message_bytes: u32,
    /// Newest version of the mesh's protocol that this host speaks: 1 or 2. A host of the release before speaks 1 only, and is spoken
    /// to in it; held at 1, this one can be set back to that release.
    pub newest_wire: u16,
    /// Connections at once: 16 to 65,536.
    pub max_connections: u32,
    /// Callers that wait for a client at once: 1 to 65,536.
    pub max_waiters: u32,
    /// The same for one address.
    pub max_waiters_per_address: u32,
    /// Longest wait for a client; a longer one asked for is cut. 1 s to 10 min.
    pub max_wait: Span,
    /// Requests a second for one address before it has shown a known key: 1 to 100,000.
    pub rate_per_second: u32,
    /// After the first change is pushed at once, further ones slide so long, in ms: 1 to 10,000.
    pub slide_ms: u32,
    /// And no longer than this in all, in ms.
    pub slide_max_ms: u32,
    /// Between two looks at a random peer, in ms: 100 to 3,600,000.
    pub anti_entropy_ms: u32,
    /// A change is told to everyone up to so many hosts; beyond, to ⌈2 ln n⌉ of them.
    pub fan_out_all: u32,
    /// Deadline for one exchange with a peer, in ms: 100 to 120,000.
    pub exchange_ms: u32,
    /// Longest pause after failures with a peer, in ms: 100 to 3,600,000.
    pub back_off_max_ms: u32,
}

impl Default for Gossip {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, PORT))],
            advertise: vec![],
            allowed_node_ids: None,
            ipa_topology: false,
            ipa_topology_interval_secs: 300,
            ipa_ldap_uris: vec![],
            ipa_suffix: None,
            ipa_ca_file: None,
            ipa_bind_dn: None,
            ipa_bind_password_file: None,
            kerberos_realm: None,
            keytab: None,
            kerberos_principal: None,
            kerberos_needs_confirmation: false,
            public_stats: true,
            max_message_bytes: 4 << 20,
            newest_wire: *WIRE.end(),
            max_connections: 512,
            max_waiters: 1024,
            max_waiters_per_address: 64,
            max_wait: Span::minutes(1),
            rate_per_second: 20,
            slide_ms: 20,
            slide_max_ms: 150,
            anti_entropy_ms: 1000,
            fan_out_all: 16,
            exchange_ms: 10_000,
            back_off_max_ms: 60_000,
        }
    }
}

impl Gossip {
    /// Where others reach a host of that name.
    pub fn advertised(&self, node: &NodeId) -> Vec<String> {
        match (&*self.advertise, self.listen.first()) {
            ([], Some(first)) => vec![format!("{node}:{}", first.port())],
            ([], None) => vec![],
            (given, _) => given.to_vec(),
        }
    }

    /// What breaks a rule, in words.
    fn fault(&self) -> Option<String> {
        let bounded = |key: &str, value: u32, min: u32, max: u32| {
            (!(min..=max).contains(&value)).then(|| format!("`{key}` must be from {min} to {max}, not {value}"))
        };
        let numbers = [
            bounded("ipa_topology_interval_secs", self.ipa_topology_interval_secs, 10, 86_400),
            bounded("max_message_bytes", self.max_message_bytes, 64 << 10, 6 << 20),
            bounded("newest_wire", self.newest_wire.into(), (*WIRE.start()).into(), (*WIRE.end()).into()),
            bounded("max_connections", self.max_connections, 16, 65_536),
            bounded("max_waiters", self.max_waiters, 1, 65_536),
            bounded("max_waiters_per_address", self.max_waiters_per_address, 1, self.max_waiters.max(1)),
            bounded("rate_per_second", self.rate_per_second, 1, 100_000),
            bounded("slide_ms", self.slide_ms, 1, 10_000),
            bounded("slide_max_ms", self.slide_max_ms, self.slide_ms, 60_000),
            bounded("anti_entropy_ms", self.anti_entropy_ms, 100, 3_600_000),
            bounded("fan_out_all", self.fan_out_all, 1, 1000),
            bounded("exchange_ms", self.exchange_ms, 100, 120_000),
            bounded("back_off_max_ms", self.back_off_max_ms, 100, 3_600_000),
        ];
        if let Some(fault) = numbers.into_iter().flatten().next() {
            return Some(fault);
        }
        let too_many =
            |key: &str, count: usize, max: usize| (count > max).then(|| format!("`{key}` takes at most {max} entries"));
        let counts = [
            too_many("listen", self.listen.len(), MAX_ADDRESSES),
            too_many("advertise", self.advertise.len(), MAX_ADDRESSES),
            too_many("allowed_node_ids", self.allowed_node_ids.as_ref().map_or(0, Vec::len), MAX_ALLOWED),
            too_many("ipa_ldap_uris", self.ipa_ldap_uris.len(), MAX_URIS),
        ];
        if let Some(fault) = counts.into_iter().flatten().next() {
            return Some(fault);
        }
        if !(Span(std::time::Duration::from_secs(1))..=Span::minutes(10)).contains(&self.max_wait) {
            return Some(format!("`max_wait` must be from 1s to 10m, not {}", self.max_wait));
        }
        if let Some(address) = self.advertise.iter().find(|address| !is_host_and_port(address)) {
            return Some(format!("`advertise` takes \"host:port\", such as \"host1.example.org:{PORT}\", not {address:?}"));
        }
        let known = |uri: &String| ["ldap://", "ldaps://", "ldapi://"].iter().any(|scheme| uri.starts_with(scheme));
        if let Some(uri) = self.ipa_ldap_uris.iter().find(|uri| !known(uri)) {
            return Some(format!("`ipa_ldap_uris` takes ldap://, ldaps:// and ldapi://, not {uri:?}"));
        }
        if self.ipa_topology && (self.ipa_ldap_uris.is_empty() || self.ipa_suffix.is_none()) {
            return Some("`ipa_topology` needs `ipa_ldap_uris` and `ipa_suffix`".to_owned());
        }
        if self.ipa_bind_dn.is_some() != self.ipa_bind_password_file.is_some() {
            return Some("`ipa_bind_dn` and `ipa_bind_password_file` go together".to_owned());
        }
        let files = [&self.ipa_ca_file, &self.ipa_bind_password_file, &self.keytab];
        let relative = files.into_iter().flatten().find(|path| !path.starts_with('/'));
        relative.map(|path| format!("{path:?} is not an absolute path"))
    }
}

/// `host:port`, the host being a name, an IPv4 address, or an IPv6 address in brackets; at most 260 bytes.
pub fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<NodeId>().is_ok(),
    };
    text.len() <= 260 && host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

pub(super) fn check(source: &Document<'_>, gossip: Option<Spanned<Gossip>>) -> Result<Gossip, ConfigError> {
    let Some(gossip) = gossip else { return Ok(Gossip::default()) };
    match gossip.get_ref().fault() {
        Some(fault) => Err(source.error(&gossip, fault)),
        None => Ok(gossip.into_inner()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, Source, parse};

    fn read(section: &str) -> Result<Config, ConfigError> {
        let text = format!("trust_domain = \"example.org\"\n[gossip]\n{section}\n");
        parse(Source { file: "agent.toml", text: &text }, &[])
    }

    #[test]
    fn without_the_section_everything_has_its_default() {
        let config = parse(Source { file: "agent.toml", text: "trust_domain = \"example.org\"" }, &[]).unwrap();
        assert_eq!(config.gossip, super::Gossip::default());
        assert_eq!(config.gossip.listen[0].to_string(), "[::]:7438");
        let node = "a.example.org".parse().unwrap();
        assert_eq!(config.gossip.advertised(&node), ["a.example.org:7438"]);
    }

    #[test]
    fn an_empty_list_is_a_list_and_no_list_is_none() {
        assert_eq!(read("allowed_node_ids = []").unwrap().gossip.allowed_node_ids, Some(vec![]));
        assert_eq!(read("").unwrap().gossip.allowed_node_ids, None);
    }

    #[test]
    fn a_key_that_is_misspelt_or_a_value_that_breaks_a_rule_is_refused_with_its_place() {
        for (section, expected) in [
            ("allowed_nodes = []", "agent.toml:3:1: unknown field `allowed_nodes`"),
            ("listen = [\"7438\"]", "agent.toml:3:11: invalid socket address syntax"),
            ("slide_ms = 0", "agent.toml:2:1: `slide_ms` must be from 1 to 10000, not 0"),
            ("slide_max_ms = 5", "`slide_max_ms` must be from 20 to 60000, not 5"),
            ("newest_wire = 3", "`newest_wire` must be from 1 to 2, not 3"),
            ("max_message_bytes = 8388608", "`max_message_bytes` must be from 65536 to 6291456"),
            ("max_waiters = 8\nmax_waiters_per_address = 9", "`max_waiters_per_address` must be from 1 to 8, not 9"),
            ("max_wait = \"1h\"", "`max_wait` must be from 1s to 10m, not 1h"),
            ("advertise = [\"host1\"]", "`advertise` takes \"host:port\""),
            ("advertise = [\"host1:0\"]", "`advertise` takes \"host:port\""),
            ("ipa_ldap_uris = [\"http://x\"]", "`ipa_ldap_uris` takes ldap://"),
            ("ipa_topology = true", "`ipa_topology` needs `ipa_ldap_uris` and `ipa_suffix`"),
            ("ipa_bind_dn = \"uid=a\"", "go together"),
            ("keytab = \"krb5.keytab\"", "\"krb5.keytab\" is not an absolute path"),
            ("allowed_node_ids = [\"-a\"]", "node id \"-a\" must not have a label that begins or ends with '-'"),
        ] {
            let error = read(section).unwrap_err().to_string();
            assert!(error.contains(expected), "{section}: {error}");
        }
    }

    #[test]
    fn host_and_port_take_names_and_addresses() {
        for good in ["a.example.org:7438", "192.0.2.1:1", "[2001:db8::1]:7438"] {
            assert!(super::is_host_and_port(good), "{good}");
        }
        for bad in ["a.example.org", "a:0", "a:70000", "2001:db8::1:7438", "[a]:1", ":1", "a b:1"] {
            assert!(!super::is_host_and_port(bad), "{bad}");
        }
    }
}
