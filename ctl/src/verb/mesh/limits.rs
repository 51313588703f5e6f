//! What a host may issue, as options.

use std::net::IpAddr;

use reverie_core::id::{DnsName, NodeId};
use reverie_core::mesh::collection::{IssuingLimits, Network};

/// Everything a SPIFFE ID can have as its path lies below this.
const EVERY_PATH: &str = "/";

/// What a host may issue.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "What the host may issue")]
// Its name is that of a verb too.
#[group(skip)]
pub(crate) struct Limits {
    /// DNS names: this one and those below it; may be repeated [default: NODE, and below it]
    #[arg(long, value_name = "NAME")]
    dns: Vec<DnsName>,
    /// No DNS name at all
    #[arg(long, conflicts_with = "dns")]
    no_dns: bool,
    /// IP addresses, one or a network such as 192.168.0.0/16; may be repeated [default: none]
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    address: Vec<Network>,
    /// SPIFFE paths: this one and those below it, e.g. /svc/web; may be repeated [default: every path]
    #[arg(long, value_name = "PATH", value_parser = path)]
    spiffe: Vec<String>,
    /// No SPIFFE ID at all
    #[arg(long, conflicts_with = "spiffe")]
    no_spiffe: bool,
    /// Subjects of tokens that end with this, e.g. @example.org; may be repeated [default: none]
    #[arg(long, value_name = "SUFFIX", value_parser = word)]
    token_subject: Vec<String>,
    /// Audiences of tokens; may be repeated [default: none]
    #[arg(long, value_name = "AUDIENCE", value_parser = word)]
    token_audience: Vec<String>,
}

impl Limits {
    /// With the defaults for `node` where nothing is said.
    pub(super) fn complete_for(self, node: &NodeId) -> IssuingLimits {
        let Self { dns, no_dns, address, spiffe, no_spiffe, token_subject, token_audience } = self;
        let own_name = || if no_dns { vec![] } else { vec![node.to_string()] };
        let every_path = || if no_spiffe { vec![] } else { vec![EVERY_PATH.to_owned()] };
        IssuingLimits {
            dns: if dns.is_empty() { own_name() } else { dns.iter().map(ToString::to_string).collect() },
            addresses: address,
            spiffe: if spiffe.is_empty() { every_path() } else { spiffe },
            token_subjects: token_subject,
            token_audiences: token_audience,
        }
    }

    /// The same, none if nothing at all is said: then the agent decides.
    pub(super) fn given_for(self, node: &NodeId) -> Option<IssuingLimits> {
        let Self { dns, no_dns, address, spiffe, no_spiffe, token_subject, token_audience } = &self;
        let lists = [address.len(), spiffe.len(), token_subject.len(), token_audience.len(), dns.len()];
        let is_silent = !no_dns && !no_spiffe && lists.iter().all(|length| *length == 0);
        if is_silent { None } else { Some(self.complete_for(node)) }
    }
}

/// On one line, for people.
pub(super) fn describe(limits: &IssuingLimits) -> String {
    let networks: Vec<String> = limits.addresses.iter().map(|network| format!("{}/{}", network.address, network.bits)).collect();
    let parts = [
        ("DNS", &limits.dns),
        ("addresses", &networks),
        ("SPIFFE", &limits.spiffe),
        ("token subjects", &limits.token_subjects),
        ("token audiences", &limits.token_audiences),
    ];
    let said = parts.iter().map(|(name, list)| match list.is_empty() {
        true => format!("no {name}"),
        false => format!("{name} {}", list.join(" ")),
    });
    said.collect::<Vec<_>>().join("; ")
}

fn network(text: &str) -> Result<Network, String> {
    let wrong = || format!("{text:?} is no network: write 192.168.0.0/16, fd00::/8 or one address");
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let (value, most) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>()).map_err(|_| wrong())?;
    if bits > most {
        return Err(wrong());
    }
    match value.checked_shl(bits.into()).unwrap_or(0) {
        0 => Ok(Network { address, bits }),
        _ => Err(format!("{text:?} has bits set beyond its first {bits}: write the network's first address")),
    }
}

fn path(text: &str) -> Result<String, String> {
    match text == EVERY_PATH || format!("spiffe://x{text}").parse::<reverie_core::id::SpiffeId>().is_ok() && text.starts_with('/')
    {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no SPIFFE path: write it like /svc/web, or / for every path")),
    }
}

fn word(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("must be 1 to 255 bytes of text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_by_its_first_address() {
        let is = |text, address: &str, bits| {
            assert_eq!(network(text).unwrap(), Network { address: address.parse().unwrap(), bits }, "{text}");
        };
        is("192.168.0.0/16", "192.168.0.0", 16);
        is("10.1.2.3", "10.1.2.3", 32);
        is("0.0.0.0/0", "0.0.0.0", 0);
        is("fd00::/8", "fd00::", 8);
        is("::1", "::1", 128);
        for bad in ["10.1.2.3/16", "10.0.0.0/33", "fd00::1/8", "x", "10.0.0.0/", "/8", "10.0.0.0/-1"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_said_is_the_hosts_own_name_no_address_and_every_path() {
        let node: NodeId = "host2.example.org".parse().unwrap();
        assert_eq!(Limits::default().given_for(&node), None);
        let limits = Limits { address: vec![network("10.0.0.1").unwrap()], ..Limits::default() }.given_for(&node).unwrap();
        assert_eq!((limits.dns, limits.spiffe), (vec![node.to_string()], vec!["/".to_owned()]));
        let limits = Limits { no_dns: true, no_spiffe: true, ..Limits::default() }.complete_for(&node);
        assert_eq!(limits, IssuingLimits::default());
    }

    #[test]
    fn a_path_that_climbs_or_is_no_path_is_refused() {
        for bad in ["", "svc", "/a/../b", "/a/", "//", "/a b", "x/y"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
        assert!(path("/").is_ok() && path("/svc/web").is_ok());
    }
}
