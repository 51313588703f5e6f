//! `[[federation]]`: other trust domains, whose bundles this host fetches.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::ConfigError;
use super::merge::Document;
use crate::id::{SpiffeId, TrustDomain};

/// Trust domains that one host federates with.
const MAX_DOMAINS: usize = 32;

/// Bytes of a URL. Written again it has its port, too, and is read again where it is used.
const MAX_URL: usize = 2000 + ":65535/".len();

/// How the server of a bundle is known (SPIFFE Federation §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// By a certificate for its name, of an authority that this machine trusts.
    HttpsWeb,
    /// By its SPIFFE ID.
    HttpsSpiffe,
}

/// As it is written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFederation {
    /// The other trust domain. Its bundle vouches for that one alone.
    #[schemars(with = "TrustDomain")]
    trust_domain: Spanned<TrustDomain>,
    /// Where its bundle is: an `https` URL.
    #[schemars(with = "String")]
    url: Spanned<String>,
    /// How the server is known: `https_web` or `https_spiffe`.
    profile: Profile,
    /// With `https_spiffe`: the SPIFFE ID of the server.
    #[schemars(with = "Option<SpiffeId>")]
    spiffe_id: Option<Spanned<SpiffeId>>,
    /// A file with the bundle to begin with (JSON). With `https_spiffe` it is needed where the server's ID is of that trust domain.
    bundle_file: Option<String>,
    /// With `https_web`: a PEM file of the authorities to trust. Default: the system's.
    #[schemars(with = "Option<String>")]
    ca_file: Option<Spanned<String>>,
}

/// Another trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Federation {
    /// Which.
    pub trust_domain: TrustDomain,
    /// Where its bundle is.
    pub url: HttpsUrl,
    /// How the server is known.
    pub profile: Profile,
    /// Its SPIFFE ID, with [`Profile::HttpsSpiffe`].
    pub spiffe_id: Option<SpiffeId>,
    /// The bundle to begin with.
    pub bundle_file: Option<String>,
    /// Authorities, with [`Profile::HttpsWeb`].
    pub ca_file: Option<String>,
}

/// An `https` URL without user, password or fragment (SPIFFE Federation §5.2.1.1, §5.2.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpsUrl {
    /// Host name or address, an IPv6 address without brackets.
    pub host: String,
    /// 443 if the URL does not say.
    pub port: u16,
    /// With the query; begins with a slash.
    pub path: String,
}

impl std::str::FromStr for HttpsUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{:?} is not an https URL: {why}", text.chars().take(128).collect::<String>());
        let rest = text.strip_prefix("https://").ok_or_else(|| wrong("it must begin with https://"))?;
        if text.len() > MAX_URL || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("it may have 2000 printable ASCII characters"));
        }
        if rest.contains('#') {
            return Err(wrong("a fragment means nothing here"));
        }
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err(wrong("it may have no user or password"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| wrong("its address has no closing bracket"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
            return Err(wrong("its host is no name or address"));
        }
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong("its port is no number from 1 to 65535"))?,
            None if port.is_empty() => 443,
            None => return Err(wrong("its host is no name or address")),
        };
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Ok(Self { host: host.to_owned(), port, path })
    }
}

impl std::fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}{}", self.host, self.port, self.path),
            false => write!(f, "https://{}:{}{}", self.host, self.port, self.path),
        }
    }
}

impl TryFrom<String> for HttpsUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HttpsUrl> for String {
    fn from(url: HttpsUrl) -> Self {
        url.to_string()
    }
}

pub(super) fn check(
    source: &Document<'_>,
    own: &TrustDomain,
    declared: Vec<RawFederation>,
) -> Result<Vec<Federation>, ConfigError> {
    let mut known = BTreeSet::new();
    let mut federations = vec![];
    for raw in declared {
        let domain = raw.trust_domain.get_ref();
        if domain == own {
            return Err(source.error(&raw.trust_domain, format!("{:?} is this host's own trust domain", domain.as_str())));
        }
        if !known.insert(domain.clone()) {
            return Err(source.error(&raw.trust_domain, format!("{:?} is declared twice; remove one", domain.as_str())));
        }
        if known.len() > MAX_DOMAINS {
            return Err(source.error(&raw.trust_domain, format!("there may be at most {MAX_DOMAINS} [[federation]]")));
        }
        let url = raw.url.get_ref().parse().map_err(|why: String| source.error(&raw.url, why))?;
        match (raw.profile, &raw.spiffe_id, &raw.ca_file) {
            (Profile::HttpsSpiffe, None, _) => {
                let message = "`profile = \"https_spiffe\"` needs `spiffe_id`, the SPIFFE ID of the server at `url`";
                return Err(source.error(&raw.url, message));
            }
            (Profile::HttpsSpiffe, _, Some(file)) => {
                return Err(
                    source.error(file, "`ca_file` is for `https_web`; with `https_spiffe` a trust bundle says who is believed")
                );
            }
            (Profile::HttpsWeb, Some(id), _) => {
                return Err(source.error(id, "`spiffe_id` is for `https_spiffe`; with `https_web` the URL names the server"));
            }
            (Profile::HttpsSpiffe, Some(id), None)
                if raw.bundle_file.is_none() && id.get_ref().trust_domain() == domain.as_str() =>
            {
                let message =
                    "its server is known by the very bundle that is fetched from it: give the first one as `bundle_file`";
                return Err(source.error(id, message));
            }
            (Profile::HttpsSpiffe, Some(id), None) if id.get_ref().trust_domain() == own.as_str() => {
                let message = "its server is believed by the bundle of another trust domain; by ours it would be without a look at what is revoked";
                return Err(source.error(id, message));
            }
            _ => {}
        }
        federations.push(Federation {
            trust_domain: raw.trust_domain.into_inner(),
            url,
            profile: raw.profile,
            spiffe_id: raw.spiffe_id.map(Spanned::into_inner),
            bundle_file: raw.bundle_file,
            ca_file: raw.ca_file.map(Spanned::into_inner),
        });
    }
    Ok(federations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};

    #[test]
    fn urls_are_https_and_nothing_hides_in_them() {
        let url = |text: &str| text.parse::<HttpsUrl>().map(|url| (url.host, url.port, url.path));
        assert_eq!(url("https://a.example.org/b?c=d"), Ok(("a.example.org".to_owned(), 443, "/b?c=d".to_owned())));
        assert_eq!(url("https://a.example.org:8443"), Ok(("a.example.org".to_owned(), 8443, "/".to_owned())));
        assert_eq!(url("https://[::1]:8443/x"), Ok(("::1".to_owned(), 8443, "/x".to_owned())));
        for odd in [
            "http://a/",
            "https://",
            "https://u:p@a/",
            "https://a:99999/",
            "https://a b/",
            "https://a/#x",
            "https://[::1/",
            "https://a\r\nb/",
        ] {
            assert!(url(odd).is_err(), "{odd}");
        }
    }

    fn read(section: &str) -> Result<Vec<Federation>, String> {
        let text = format!("trust_domain = \"example.org\"\n[[federation]]\n{section}\n");
        parse(Source { file: "t", text: &text }, &[]).map(|config| config.federation).map_err(|error| error.to_string())
    }

    #[test]
    fn a_federation_says_how_its_server_is_known() {
        let web = "trust_domain = \"other.org\"\nurl = \"https://o/b\"\nprofile = \"https_web\"\n";
        assert_eq!(read(web).unwrap()[0].profile, Profile::HttpsWeb);
        let spiffe = "trust_domain = \"other.org\"\nurl = \"https://o/b\"\nprofile = \"https_spiffe\"\nspiffe_id = \"spiffe://other.org/x\"\n";
        assert!(read(&format!("{spiffe}bundle_file = \"/b\"")).is_ok());
        assert!(read(spiffe).unwrap_err().contains("bundle_file"));
        assert!(read(&spiffe.replace("other.org/x", "third.org/x")).is_ok(), "known by another bundle");
        for (section, why) in [
            (web.replace("other.org", "example.org"), "own trust domain"),
            (format!("{web}[[federation]]\n{web}"), "declared twice"),
            (web.replace("web", "spiffe"), "needs `spiffe_id`"),
            (format!("{web}spiffe_id = \"spiffe://other.org/x\""), "is for `https_spiffe`"),
            (format!("{spiffe}bundle_file = \"/b\"\nca_file = \"/c\""), "is for `https_web`"),
            (spiffe.replace("other.org/x", "example.org/x"), "revoked"),
            (web.replace("https://", "http://"), "must begin with https"),
        ] {
            let said = read(&section).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
