//! What a host of a mesh may issue. The host's own judge asks [`check`] before it signs; an authority puts
//! [`NameConstraints`] into the host's intermediate, so that every verifier holds it to its DNS names and addresses.
//! SPIFFE paths cannot be bound so (a URI constraint makes verifiers refuse rightful leaves too): only ours check them.

use std::net::IpAddr;

use crate::id::{DnsName, NodeId, SpiffeId};
use crate::mesh::collection::{IssuingLimits, Network};

/// Entries of one kind in the limits of a host.
pub const MAX_ENTRIES: usize = 64;
/// Bytes of one entry.
const MAX_ENTRY: usize = 256;

/// Something lies outside of what this host may issue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} lies outside of what this host may issue ({allowed}); an administrator can change that on an authority of the mesh: \
     agentctl mesh limits {node}"
)]
pub struct OutsideLimits {
    what: String,
    allowed: String,
    node: NodeId,
}

/// Limits that say nothing sensible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is no limit of {kind}: {why}")]
pub struct BadLimits {
    kind: &'static str,
    entry: String,
    why: String,
}

/// What a host may issue that nobody limited otherwise: its own name and what lies below it, no address, every SPIFFE path but
/// those of other hosts.
pub fn default_limits(node: &NodeId) -> IssuingLimits {
    IssuingLimits { dns: vec![node.to_string()], spiffe: vec!["/".to_owned()], ..IssuingLimits::default() }
}

/// Refuses limits that no certificate could carry, or that are too many.
pub fn check_limits(limits: &IssuingLimits) -> Result<(), BadLimits> {
    let bad = |kind, entry: &str, why: &str| BadLimits { kind, entry: entry.chars().take(80).collect(), why: why.to_owned() };
    let counts = [
        ("DNS names", limits.dns.len()),
        ("addresses", limits.addresses.len()),
        ("SPIFFE IDs", limits.spiffe.len()),
        ("token subjects", limits.token_subjects.len()),
        ("token audiences", limits.token_audiences.len()),
    ];
    for (kind, count) in counts {
        if count > MAX_ENTRIES {
            return Err(bad(kind, &count.to_string(), &format!("there may be at most {MAX_ENTRIES}")));
        }
    }
    for dns in &limits.dns {
        if let Err(error) = dns.parse::<NodeId>() {
            return Err(bad("DNS names", dns, &error.to_string()));
        }
    }
    for network in &limits.addresses {
        if network.masked() != *network {
            return Err(bad("addresses", &network.to_string(), &format!("the network is {}", network.masked())));
        }
    }
    for path in &limits.spiffe {
        let whole = path == "/" || format!("spiffe://x{path}").parse::<SpiffeId>().is_ok_and(|id| id.path() == path);
        if !whole || path.is_empty() {
            return Err(bad("SPIFFE IDs", path, "it must be a path such as /svc/web, without a slash at its end, or / alone"));
        }
    }
    for text in limits.token_subjects.iter().chain(&limits.token_audiences) {
        if text.is_empty() || text.len() > MAX_ENTRY {
            return Err(bad("tokens", text, "it must have 1 to 256 bytes"));
        }
    }
    Ok(())
}

/// The names of a certificate against the limits of the host `node` that is to sign it. Its own name and `/host/<node>` are
/// always within; `/host` and the `/host/…` of another never are, whatever the limits say.
pub fn check(
    limits: &IssuingLimits,
    node: &NodeId,
    spiffe_id: &SpiffeId,
    dns: &[DnsName],
    ip: &[IpAddr],
) -> Result<(), OutsideLimits> {
    let outside = |what: String, allowed: &[String]| OutsideLimits {
        what,
        allowed: match allowed {
            [] => "none".to_owned(),
            some => some.join(", "),
        },
        node: node.clone(),
    };
    if is_of_another_host(spiffe_id.path(), node) {
        return Err(outside(format!("the SPIFFE ID {spiffe_id}"), &[format!("of /host only /host/{node}")]));
    }
    if !is_spiffe_within(&limits.spiffe, node, spiffe_id) {
        return Err(outside(format!("the SPIFFE ID {spiffe_id}"), &limits.spiffe));
    }
    let names: Vec<String> = names_of(limits, node);
    if let Some(name) = dns.iter().find(|name| !names.iter().any(|limit| is_below(name.as_str(), limit))) {
        return Err(outside(format!("the DNS name {name}"), &names));
    }
    if let Some(ip) = ip.iter().find(|ip| !limits.addresses.iter().any(|network| network.contains(ip))) {
        let networks: Vec<String> = limits.addresses.iter().map(ToString::to_string).collect();
        return Err(outside(format!("the address {ip}"), &networks));
    }
    Ok(())
}

fn names_of(limits: &IssuingLimits, node: &NodeId) -> Vec<String> {
    let mut names = limits.dns.clone();
    if !names.iter().any(|limit| is_below(node.as_str(), limit)) {
        names.push(node.to_string());
    }
    names
}

/// What a verifier of ours asks, once it knows whose intermediate signed a leaf: may that host issue this SPIFFE ID?
pub fn may_issue(paths: &[String], node: &NodeId, spiffe_id: &SpiffeId) -> bool {
    !is_of_another_host(spiffe_id.path(), node) && is_spiffe_within(paths, node, spiffe_id)
}

fn is_spiffe_within(paths: &[String], node: &NodeId, spiffe_id: &SpiffeId) -> bool {
    let path = spiffe_id.path();
    let below = |limit: &str| limit == "/" || path == limit || path.strip_prefix(limit).is_some_and(|rest| rest.starts_with('/'));
    path == format!("/host/{node}") || paths.iter().any(|limit| below(limit))
}

/// `/host` itself, and what lies below `/host/…` of another.
fn is_of_another_host(path: &str, node: &NodeId) -> bool {
    let mut segments = path.split('/').skip(1);
    segments.next() == Some("host") && segments.next() != Some(node.as_str())
}

/// RFC 5280 §4.2.1.10: labels may be added to the left. A wildcard stands for the names below.
fn is_below(name: &str, limit: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    name == limit || name.strip_suffix(limit).is_some_and(|rest| rest.ends_with('.'))
}

/// The name constraints of an intermediate (RFC 5280 §4.2.1.10). Names of a kind of which none is permitted are excluded
/// explicitly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// DNS names equal to one of these or below it; none at all if it is empty.
    pub dns: Vec<String>,
    /// Networks; of a family without one, no address.
    pub networks: Vec<Network>,
}

impl NameConstraints {
    /// What verifiers are to hold `node` to. Sorted, so that equal limits give equal constraints.
    pub fn of(limits: &IssuingLimits, node: &NodeId) -> Self {
        let (mut dns, mut networks) = (names_of(limits, node), limits.addresses.clone());
        dns.sort();
        dns.dedup();
        networks.sort();
        networks.dedup();
        Self { dns, networks }
    }

    /// Networks that no address may be of: a family of which none is permitted.
    pub fn excluded_networks(&self) -> Vec<Network> {
        let any = |is_v4| self.networks.iter().any(|network| network.address.is_ipv4() == is_v4);
        let v4 = Network { address: IpAddr::from([0; 4]), bits: 0 };
        let v6 = Network { address: IpAddr::from([0; 16]), bits: 0 };
        [(any(true), v4), (any(false), v6)].into_iter().filter(|(any, _)| !any).map(|(_, network)| network).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        "web1.example.org".parse().unwrap()
    }

    fn judged(limits: &IssuingLimits, id: &str, dns: &[&str], ip: &[&str]) -> Result<(), String> {
        let dns: Vec<DnsName> = dns.iter().map(|name| name.parse().unwrap()).collect();
        let ip: Vec<IpAddr> = ip.iter().map(|ip| ip.parse().unwrap()).collect();
        check(limits, &node(), &id.parse().unwrap(), &dns, &ip).map_err(|error| error.to_string())
    }

    fn limits(dns: &[&str], networks: &[&str], spiffe: &[&str]) -> IssuingLimits {
        let owned = |some: &[&str]| some.iter().map(ToString::to_string).collect();
        let addresses = networks.iter().map(|network| network.parse().unwrap()).collect();
        IssuingLimits { dns: owned(dns), addresses, spiffe: owned(spiffe), ..IssuingLimits::default() }
    }

    #[test]
    fn a_host_that_nobody_limited_issues_its_own_name_and_what_lies_below_and_nothing_of_others() {
        let own = default_limits(&node());
        let id = "spiffe://example.org/svc/anything";
        assert_eq!(judged(&own, id, &["web1.example.org", "a.web1.example.org", "*.web1.example.org"], &[]), Ok(()));
        for foreign in ["db1.example.org", "example.org", "*.example.org", "xweb1.example.org", "web1.example.org.evil.com"] {
            assert!(judged(&own, id, &[foreign], &[]).is_err(), "{foreign}");
        }
        assert!(judged(&own, id, &[], &["10.0.0.1"]).is_err());
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_who_can_change_it() {
        let tight = limits(&["apps.example.org"], &["10.1.0.0/16"], &["/svc/web"]);
        assert_eq!(
            judged(&tight, "spiffe://example.org/svc/db", &[], &[]).unwrap_err(),
            "the SPIFFE ID spiffe://example.org/svc/db lies outside of what this host may issue (/svc/web); an administrator can \
             change that on an authority of the mesh: agentctl mesh limits web1.example.org"
        );
        let refused = judged(&tight, "spiffe://example.org/svc/web", &["db.example.org"], &[]).unwrap_err();
        assert!(refused.starts_with("the DNS name db.example.org lies outside"), "{refused}");
        assert!(refused.contains("(apps.example.org, web1.example.org)"), "{refused}");
        let refused = judged(&limits(&[], &[], &["/"]), "spiffe://example.org/x", &[], &["10.2.0.1"]).unwrap_err();
        assert!(refused.contains("the address 10.2.0.1") && refused.contains("(none)"), "{refused}");
    }

    #[test]
    fn a_path_is_within_its_prefix_by_whole_segments_only() {
        let tight = limits(&[], &[], &["/svc/web"]);
        for (path, good) in [("/svc/web", true), ("/svc/web/a", true), ("/svc/website", false), ("/svc", false), ("", false)] {
            let id = format!("spiffe://example.org{path}");
            assert_eq!(judged(&tight, &id, &[], &[]).is_ok(), good, "{path:?}");
            assert_eq!(may_issue(&tight.spiffe, &node(), &id.parse().unwrap()), good, "{path:?}");
        }
        assert!(judged(&limits(&[], &[], &[]), "spiffe://example.org/host/web1.example.org", &[], &[]).is_ok());
        assert!(judged(&limits(&[], &[], &[]), "spiffe://example.org/host/web2.example.org", &[], &[]).is_err());
    }

    #[test]
    fn no_host_issues_for_another_host_whatever_its_limits() {
        for given in [default_limits(&node()), limits(&[], &[], &["/host"]), limits(&[], &[], &["/host/web2.example.org"])] {
            assert_eq!(judged(&given, "spiffe://example.org/host/web1.example.org", &[], &[]), Ok(()));
            for foreign in ["/host", "/host/web2.example.org", "/host/web2.example.org/x", "/host/web1.example.org.evil"] {
                let refused = judged(&given, &format!("spiffe://example.org{foreign}"), &[], &[]).unwrap_err();
                assert!(refused.contains("(of /host only /host/web1.example.org)"), "{refused}");
                let id = format!("spiffe://example.org{foreign}").parse().unwrap();
                assert!(!may_issue(&given.spiffe, &node(), &id), "{foreign}");
            }
        }
        assert!(judged(&default_limits(&node()), "spiffe://example.org/hosting/web2.example.org", &[], &[]).is_ok());
    }

    #[test]
    fn an_address_is_within_its_network_and_families_do_not_mix() {
        let tight = limits(&[], &["10.1.0.0/16", "fd00::/8"], &["/"]);
        for (ip, good) in [("10.1.2.3", true), ("10.2.0.1", false), ("fd12::1", true), ("fe80::1", false), ("::a01:203", false)] {
            assert_eq!(judged(&tight, "spiffe://example.org/x", &[], &[ip]).is_ok(), good, "{ip}");
        }
    }

    #[test]
    fn limits_that_no_certificate_could_carry_are_refused() {
        assert_eq!(check_limits(&default_limits(&node())), Ok(()));
        let many: Vec<String> = (0..=MAX_ENTRIES).map(|number| format!("a{number}.example.org")).collect();
        for bad in [
            limits(&["*.example.org"], &[], &[]),
            limits(&[""], &[], &[]),
            limits(&[".example.org"], &[], &[]),
            limits(&[], &[], &["svc"]),
            limits(&[], &[], &["/svc/"]),
            limits(&[], &[], &[""]),
            limits(&[], &[], &["/a//b"]),
            IssuingLimits { dns: many, ..IssuingLimits::default() },
            IssuingLimits {
                addresses: vec![Network { address: IpAddr::from([10, 0, 0, 1]), bits: 8 }],
                ..IssuingLimits::default()
            },
        ] {
            assert!(check_limits(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn constraints_exclude_what_they_do_not_permit() {
        let none = NameConstraints::of(&limits(&[], &[], &["/"]), &node());
        assert_eq!(none.dns, ["web1.example.org"]);
        assert_eq!(none.excluded_networks().len(), 2);
        let v4 = NameConstraints::of(&limits(&[], &["10.0.0.0/8"], &[]), &node());
        assert_eq!(v4.excluded_networks().iter().map(ToString::to_string).collect::<Vec<_>>(), ["::/0"]);
    }

    proptest::proptest! {
        /// The judge and the constraints in the certificate never differ: what one allows of names and addresses, the other does.
        #[test]
        fn what_the_judge_lets_pass_lies_within_the_constraints(
            dns in proptest::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,3}", 0..4),
            name in "[ab]{1,2}(\\.[ab]{1,2}){0,4}",
        ) {
            let given = IssuingLimits { dns, spiffe: vec!["/".to_owned()], ..IssuingLimits::default() };
            let constraints = NameConstraints::of(&given, &node());
            let parsed: DnsName = name.parse().unwrap();
            let judged = check(&given, &node(), &"spiffe://x/y".parse().unwrap(), &[parsed], &[]).is_ok();
            let by_constraint = constraints.dns.iter().any(|limit| is_below(&name, limit));
            proptest::prop_assert_eq!(judged, by_constraint);
        }
    }
}
