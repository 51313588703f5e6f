//! What a name of a secret stands for.

use crate::id::{SpiffeId, TrustDomain};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `default`: certificate and key of the caller's default identity.
    Default,
    /// A SPIFFE ID: certificate and key of that identity.
    Identity(SpiffeId),
    /// `ROOTCA` or the SPIFFE ID of a trust domain: what it is verified with. `None` is our own.
    Domain(Option<TrustDomain>),
    /// `ALL`: what every known trust domain is verified with, each for itself.
    AllDomains,
}

impl Wanted {
    /// `None` if it is a name of nothing.
    pub fn parse(name: &str, own: &TrustDomain) -> Option<Self> {
        match name {
            "default" => return Some(Self::Default),
            "ROOTCA" => return Some(Self::Domain(None)),
            "ALL" => return Some(Self::AllDomains),
            _ => {}
        }
        let rest = name.strip_prefix("spiffe://")?;
        if rest.contains('/') {
            return name.parse().ok().map(Self::Identity);
        }
        let domain: TrustDomain = rest.parse().ok()?;
        Some(Self::Domain((domain != *own).then_some(domain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_what_envoy_users_are_used_to() {
        let own: TrustDomain = "example.org".parse().unwrap();
        let parse = |name| Wanted::parse(name, &own);
        assert_eq!(parse("default"), Some(Wanted::Default));
        assert_eq!(parse("ROOTCA"), Some(Wanted::Domain(None)));
        assert_eq!(parse("spiffe://example.org"), Some(Wanted::Domain(None)));
        assert_eq!(parse("spiffe://other.test"), Some(Wanted::Domain(Some("other.test".parse().unwrap()))));
        assert_eq!(parse("ALL"), Some(Wanted::AllDomains));
        let id = "spiffe://example.org/svc/web";
        assert_eq!(parse(id), Some(Wanted::Identity(id.parse().unwrap())));
        for nothing in ["", "all", "spiffe://", "spiffe:///x", "spiffe://example.org/", "web", "spiffe://Exa mple/x"] {
            assert_eq!(parse(nothing), None, "{nothing}");
        }
    }
}
