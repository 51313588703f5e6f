//! One main file and its drop-ins, into one configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use toml::Spanned;

use super::error::{ConfigError, Lines, Place};
use super::identity::{FileRule, Identity, RawIdentity, RawSecret, Secret};
use super::pkcs12::{Password, Pkcs12};
use super::settings::{Ca, Config, DropIn, MainFile, Seal};
use super::tunnel::{self, MAX_TUNNELS, RawTunnel, Tunnel};
use super::{federation, gossip};
use crate::id::{IdentityName, SecretName, TrustDomain};
use crate::moment::Span;

/// A file's name, for messages, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As the operator would type it.
    pub file: &'a str,
    /// All of it.
    pub text: &'a str,
}

/// A source whose places are cheap to name.
pub(super) struct Document<'a> {
    text: &'a str,
    lines: Lines<'a>,
}

impl<'a> Document<'a> {
    fn new(source: Source<'a>) -> Self {
        Self { text: source.text, lines: Lines::new(source.file, source.text) }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text)
            .map_err(|error| ConfigError { place: self.place(error.span()), message: error.message().to_owned() })
    }

    fn place(&self, span: Option<std::ops::Range<usize>>) -> Place {
        self.lines.place(span)
    }

    pub(super) fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        ConfigError { place: self.place(Some(at.span())), message: message.into() }
    }
}

/// Reads the main file, then the drop-ins in the order given.
pub fn parse(main: Source<'_>, drop_ins: &[Source<'_>]) -> Result<Config, ConfigError> {
    let main = Document::new(main);
    let MainFile {
        trust_domain,
        node_id,
        paths,
        seal,
        ca,
        admin,
        limits,
        audit,
        view,
        log,
        gossip,
        federation,
        identity,
        secret,
        tunnel,
    } = main.read()?;
    let gossip = gossip::check(&main, gossip)?;
    let federation = federation::check(&main, &trust_domain, federation)?;
    let ca = check_ca(&main, ca)?;
    let seal = check_seal(&main, seal)?;
    let mut declared = Declared { trust_domain: &trust_domain, has_view: view.enabled, ..Declared::default_for(&trust_domain) };
    declared.take(&main, identity, secret)?;
    declared.take_tunnels(&main, tunnel)?;
    for source in drop_ins {
        let source = Document::new(*source);
        let DropIn { identity, secret, tunnel } = source.read()?;
        declared.take(&source, identity, secret)?;
        declared.take_tunnels(&source, tunnel)?;
    }
    let Declared { identities, secrets, tunnels, pending, passwords, .. } = declared;
    for (place, identity, name) in passwords {
        check_password(place, &identity, &name, &secrets)?;
    }
    let known: BTreeSet<_> = identities.iter().map(|identity: &Identity| &identity.name).collect();
    for (place, key, names) in pending {
        for name in names {
            if !known.contains(&name) {
                let message = format!("`{key}` names the identity {name:?}, which is not declared in any file");
                return Err(ConfigError { place, message });
            }
        }
    }
    Ok(Config {
        trust_domain,
        node_id,
        paths,
        seal,
        ca,
        admin,
        limits,
        audit,
        view,
        log,
        gossip,
        federation,
        identities,
        secrets,
        tunnels,
    })
}

struct Declared<'a> {
    trust_domain: &'a TrustDomain,
    has_view: bool,
    identities: Vec<Identity>,
    secrets: Vec<Secret>,
    places: BTreeMap<(&'static str, String), Place>,
    tunnels: Vec<Tunnel>,
    pending: Vec<(Place, &'static str, Vec<IdentityName>)>,
    passwords: Vec<(Place, IdentityName, SecretName)>,
}

impl<'a> Declared<'a> {
    fn default_for(trust_domain: &'a TrustDomain) -> Self {
        Self {
            trust_domain,
            has_view: false,
            identities: vec![],
            secrets: vec![],
            places: BTreeMap::new(),
            tunnels: vec![],
            pending: vec![],
            passwords: vec![],
        }
    }

    fn take(&mut self, source: &Document<'_>, identities: Vec<RawIdentity>, secrets: Vec<RawSecret>) -> Result<(), ConfigError> {
        for raw in identities {
            let place = self.claim(source, "identity", &raw.name)?;
            if let (Some(reload), None, false) = (&raw.reload, &raw.files, self.has_view) {
                let message = "`reload` needs `files`, or the file view (`enabled = true` under [view]): without them there is \
                               nothing to read again";
                return Err(source.error(reload, message));
            }
            let identity = check_identity(source, self.trust_domain, raw, &place)?;
            if let Some(FileRule { pkcs12: Some(Pkcs12 { password: Password::Secret(secret), .. }), .. }) = &identity.files {
                self.passwords.push((place, identity.name.clone(), secret.clone()));
            }
            self.identities.push(identity);
        }
        for raw in secrets {
            let place = self.claim(source, "secret", &raw.name)?;
            if raw.files.as_ref().is_some_and(|files| files.der || files.pkcs12.is_some()) {
                return Err(source.error(&raw.name, "a secret is published as it is: `der` and `pkcs12` are for identities"));
            }
            self.pending.push((source.place(Some(raw.allow.span())), "allow", raw.allow.get_ref().clone()));
            self.secrets.push(Secret {
                name: raw.name.into_inner(),
                allow: raw.allow.into_inner(),
                files: raw.files,
                declared_at: place.to_string(),
            });
        }
        Ok(())
    }

    fn take_tunnels(&mut self, source: &Document<'_>, tunnels: Vec<RawTunnel>) -> Result<(), ConfigError> {
        for raw in tunnels {
            let place = self.claim(source, "tunnel", &raw.name)?;
            if self.tunnels.len() == MAX_TUNNELS {
                return Err(source.error(&raw.name, format!("there may be at most {MAX_TUNNELS} tunnels")));
            }
            self.pending.push((source.place(Some(raw.identity.span())), "identity", vec![raw.identity.get_ref().clone()]));
            self.tunnels.push(tunnel::check(source, self.trust_domain, raw, place.to_string())?);
        }
        Ok(())
    }

    /// A name is declared once; a second declaration is an error that names both places.
    fn claim<T: ToString>(&mut self, source: &Document<'_>, kind: &'static str, name: &Spanned<T>) -> Result<Place, ConfigError> {
        let place = source.place(Some(name.span()));
        let text = name.get_ref().to_string();
        if let Some(first) = self.places.insert((kind, text.clone()), place.clone()) {
            let message = format!("the {kind} {text:?} is already declared at {first}; rename or remove one of them");
            return Err(ConfigError { place, message });
        }
        Ok(place)
    }
}

fn check_identity(source: &Document<'_>, domain: &TrustDomain, raw: RawIdentity, place: &Place) -> Result<Identity, ConfigError> {
    raw.matches.get_ref().check().map_err(|why| source.error(&raw.matches, why))?;
    let spiffe_id = match raw.spiffe_id {
        Some(id) if id.get_ref().trust_domain() != domain.as_str() => {
            let message = format!("{:?} is not in this host's trust domain {:?}", id.get_ref().as_str(), domain.as_str());
            return Err(source.error(&id, message));
        }
        // The trust domain's own ID is for issuers (X509-SVID §3.1); verifiers refuse a leaf with it.
        Some(id) if id.get_ref().path().is_empty() => {
            let shown = id.get_ref().as_str();
            let message = format!(
                "{shown:?} is the trust domain itself, which no identity may be: add a path, such as \"{shown}/svc/{}\"",
                raw.name.get_ref()
            );
            return Err(source.error(&id, message));
        }
        Some(id) => id.into_inner(),
        None => format!("spiffe://{domain}/svc/{}", raw.name.get_ref())
            .parse()
            .map_err(|error: crate::id::InvalidName| source.error(&raw.name, error.to_string()))?,
    };
    let ttl = bounded(source, raw.ttl, Span::days(7), Identity::MIN_TTL, Identity::MAX_TTL, "a certificate's life")?;
    if let Some(renew) = &raw.renew
        && renew.get_ref().deadline.is_some_and(|deadline| deadline.0 > ttl.0 / 2)
    {
        return Err(source.error(renew, format!("`deadline` must be at most half of the certificate's life, which is {ttl}")));
    }
    if raw.dns.len() + raw.ip.len() > 100 {
        return Err(source.error(&raw.name, "an identity may have at most 100 DNS names and addresses"));
    }
    Ok(Identity {
        name: raw.name.into_inner(),
        spiffe_id,
        dns: raw.dns,
        ip: raw.ip,
        ttl,
        renew: raw.renew.map(Spanned::into_inner).unwrap_or_default(),
        key: raw.key,
        hint: raw.hint,
        matches: raw.matches.into_inner(),
        files: raw.files,
        reload: raw.reload.map(Spanned::into_inner),
        verify: raw.verify.map(Spanned::into_inner),
        declared_at: place.to_string(),
    })
}

/// A file that is protected by a secret lets its reader try that secret out: who may not read it may not have such a file.
fn check_password(place: Place, identity: &IdentityName, name: &SecretName, secrets: &[Secret]) -> Result<(), ConfigError> {
    let message = match secrets.iter().find(|secret| secret.name == *name) {
        Some(secret) if secret.allow.contains(identity) => return Ok(()),
        Some(secret) => format!(
            "the password of its `pkcs12` is the secret {name:?}, which is not for this identity: add {identity:?} to `allow` at {}",
            secret.declared_at
        ),
        None => format!("the password of its `pkcs12` is the secret {name:?}, which is not declared in any file"),
    };
    Err(ConfigError { place, message })
}

fn check_seal(source: &Document<'_>, seal: Option<Spanned<Seal>>) -> Result<Seal, ConfigError> {
    let Some(seal) = seal else { return Ok(Seal::default()) };
    match seal.get_ref().pcrs.iter().find(|&&pcr| pcr > 23) {
        Some(pcr) => Err(source.error(&seal, format!("PCR {pcr} does not exist: `pcrs` takes numbers from 0 to 23"))),
        None => Ok(seal.into_inner()),
    }
}

fn check_ca(source: &Document<'_>, ca: Option<Spanned<Ca>>) -> Result<Ca, ConfigError> {
    let Some(ca) = ca else { return Ok(Ca::default()) };
    ca.get_ref().check().map_err(|why| source.error(&ca, why))?;
    Ok(ca.into_inner())
}

fn bounded(
    source: &Document<'_>,
    given: Option<Spanned<Span>>,
    default: Span,
    min: std::time::Duration,
    max: std::time::Duration,
    what: &str,
) -> Result<Span, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    if given.get_ref().0 < min || given.get_ref().0 > max {
        let message = format!("{what} must be from {} to {}, not {}", Span(min), Span(max), given.get_ref());
        return Err(source.error(&given, message));
    }
    Ok(given.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
trust_domain = "example.org"
node_id = "host1.example.org"
[paths]
run = "/run/reverie"
[seal]
mode = "auto"
[[identity]]
name = "web"
spiffe_id = "spiffe://example.org/svc/web"
dns = ["web.example.org"]
ttl = "7d"
match = { user = "www-data", unit = "nginx.service" }
files = { owner = "root", group = "www-data", mode = "0440" }
reload = { unit = "nginx.service" }
verify = "127.0.0.1:443"
[[secret]]
name = "db-password"
allow = ["web"]
"#;

    fn main_file(text: &str) -> Result<Config, ConfigError> {
        parse(Source { file: "agent.toml", text }, &[])
    }

    fn refusal(text: &str) -> String {
        main_file(text).unwrap_err().to_string()
    }

    /// The good file with one line replaced.
    fn with(line: &str, instead: &str) -> String {
        assert!(GOOD.contains(line), "{line}");
        GOOD.replace(line, instead)
    }

    #[test]
    fn the_documented_example_is_read() {
        let config = main_file(GOOD).unwrap();
        assert_eq!(config.identities[0].ttl, Span::days(7));
        assert_eq!(config.identities[0].declared_at, "agent.toml:9:8");
        assert_eq!(config.secrets[0].allow[0].as_str(), "web");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_known_ones() {
        let error = refusal(&with("ttl = \"7d\"", "tll = \"7d\""));
        assert!(error.starts_with("agent.toml:12:1: unknown field `tll`, expected one of `name`"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_allowed() {
        for (line, instead, expected) in [
            (
                "ttl = \"7d\"",
                "ttl = \"7d\"\nrenew = { window = \"2-4\" }",
                "agent.toml:13:20: \"2-4\" is not a part of the day; write it in UTC, like \"02:00-04:00\" or \"22:30-01:00\"",
            ),
            (
                "ttl = \"7d\"",
                "ttl = \"7d\"\nrenew = { deadline = \"4d\" }",
                "agent.toml:13:9: `deadline` must be at most half of the certificate's life, which is 7d",
            ),
            ("ttl = \"7d\"", "ttl = \"1m\"", "agent.toml:12:7: a certificate's life must be from 5m to 30d, not 1m"),
            (
                "name = \"web\"\n",
                "name = \"../etc\"\n",
                "agent.toml:9:8: identity name \"../etc\" may hold only a-z, 0-9, '.', '-' and '_'",
            ),
            (
                "spiffe://example.org/svc/web",
                "spiffe://other.org/svc/web",
                "agent.toml:10:13: \"spiffe://other.org/svc/web\" is not in this host's trust domain \"example.org\"",
            ),
            (
                "spiffe://example.org/svc/web",
                "spiffe://example.org",
                "agent.toml:10:13: \"spiffe://example.org\" is the trust domain itself, which no identity may be: \
                 add a path, such as \"spiffe://example.org/svc/web\"",
            ),
            (
                "mode = \"auto\"",
                "mode = \"tpm\"",
                "agent.toml:7:8: unknown variant `tpm`, expected one of `auto`, `tpm2`, `host+tpm2`, `host`, `file`",
            ),
            (
                "mode = \"0440\"",
                "mode = \"0444\"",
                "agent.toml:14:54: \"0444\" is not a mode for a private key: use \"0400\", \"0440\", \"0600\", \"0640\" or \"0660\"",
            ),
            (
                "verify = \"127.0.0.1:443\"",
                "verify = \"nowhere\"",
                "agent.toml:16:10: \"nowhere\" is not \"host:port\" or \"postgres://host:port\"",
            ),
            (
                "allow = [\"web\"]",
                "allow = [\"wbe\"]",
                "agent.toml:19:9: `allow` names the identity \"wbe\", which is not declared in any file",
            ),
        ] {
            assert_eq!(refusal(&with(line, instead)), expected);
        }
    }

    #[test]
    fn a_match_that_is_empty_or_contradicts_itself_is_refused() {
        let line = "match = { user = \"www-data\", unit = \"nginx.service\" }";
        assert!(refusal(&with(line, "match = {}")).contains("at least one of"));
        assert!(refusal(&with(line, "match = { uid = 1, user = \"a\" }")).contains("not both"));
        assert!(refusal(&with(line, "match = { unit = \"nginx\" }")).contains("is not a unit name"));
    }

    #[test]
    fn a_password_is_by_reference_and_only_to_what_the_identity_may_read() {
        let line = "files = { owner = \"root\", group = \"www-data\", mode = \"0440\" }";
        let files = |pkcs12: &str| with(line, &format!("files = {{ der = true, pkcs12 = {{ {pkcs12} }} }}"));
        let config = main_file(&files("secret = \"db-password\", profile = \"legacy\"")).unwrap();
        let shown = serde_json::to_value(&config.identities[0].files).unwrap();
        assert_eq!(shown["pkcs12"], serde_json::json!({ "secret": "db-password", "profile": "legacy" }));
        main_file(&files("password_file = \"/etc/reverie/web.password\"")).unwrap();
        for (pkcs12, expected) in [
            ("password = \"changeit\"", "unknown field `password`"),
            ("", "takes one of"),
            ("secret = \"db-password\", password_file = \"/x\"", "takes one of"),
            ("password_file = \"x\"", "absolute path"),
            ("secret = \"other\"", "which is not declared in any file"),
        ] {
            let error = refusal(&files(pkcs12));
            assert!(error.contains(expected), "{pkcs12}: {error}");
        }
        let others = format!("{}[[secret]]\nname = \"root-password\"\nallow = []\n", files("secret = \"root-password\""));
        assert_eq!(
            refusal(&others),
            "agent.toml:9:8: the password of its `pkcs12` is the secret \"root-password\", which is not for this identity: \
             add \"web\" to `allow` at agent.toml:21:8"
        );
        let secret = format!("{GOOD}files = {{ der = true }}\n");
        assert!(refusal(&secret).contains("are for identities"));
    }

    #[test]
    fn an_executable_counts_only_beside_the_unit_or_user_that_runs_it() {
        let line = "match = { user = \"www-data\", unit = \"nginx.service\" }";
        let digest = format!("sha256 = \"{}\"", "a".repeat(64));
        for executable in ["exe = \"/bin/x\"", &digest] {
            for beside in ["", ", gid = 33", ", group = \"a\"", ", supplementary_group = \"a\"", ", cgroup = \"/a\""] {
                let error = refusal(&with(line, &format!("match = {{ {executable}{beside} }}")));
                assert!(error.contains("need `unit`, `uid` or `user` beside them"), "{beside}: {error}");
            }
            for beside in ["uid = 33", "user = \"www-data\"", "unit = \"nginx.service\""] {
                main_file(&with(line, &format!("match = {{ {executable}, {beside} }}"))).unwrap();
            }
        }
    }

    #[test]
    fn a_service_is_told_of_published_files_or_of_what_it_reads_in_the_view() {
        let unpublished =
            GOOD.lines().filter(|line| !line.starts_with("files")).map(|line| format!("{line}\n")).collect::<String>();
        assert!(refusal(&unpublished).contains("`reload` needs `files`, or the file view"));
        main_file(&unpublished.replace("[[identity]]", "[view]\nenabled = true\n[[identity]]")).unwrap();
    }

    #[test]
    fn a_reload_that_is_none_of_the_known_kinds_is_refused() {
        let line = "reload = { unit = \"nginx.service\" }";
        assert!(refusal(&with(line, "reload = { signal = \"HUP\" }")).contains("`reload` takes one of"));
        assert!(refusal(&with(line, "reload = { signal = \"KILL\", pidfile = \"/x\" }")).contains("HUP, USR1"));
        assert!(refusal(&with(line, "reload = { command = [\"true\"] }")).contains("absolute path"));
    }

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let config = main_file(GOOD).unwrap();
        assert!(config.awaiting_restart(&config).is_empty());
        let changed = with("mode = \"auto\"", "mode = \"tpm2\"\n[audit]\nkeep = 3\njournald = true\n[log]\nlevel = \"debug\"");
        assert_eq!(config.awaiting_restart(&main_file(&changed).unwrap()), ["[seal]", "audit.keep"]);
    }

    #[test]
    fn a_conflict_names_both_places() {
        let drop_in = Source { file: "agent.d/nginx.toml", text: "[[identity]]\nname = \"web\"\nmatch = { uid = 1 }\n" };
        let error = parse(Source { file: "agent.toml", text: GOOD }, &[drop_in]).unwrap_err().to_string();
        assert_eq!(
            error,
            "agent.d/nginx.toml:2:8: the identity \"web\" is already declared at agent.toml:9:8; rename or remove one of them"
        );
    }

    #[test]
    fn a_drop_in_brings_no_settings() {
        let drop_in = Source { file: "agent.d/x.toml", text: "trust_domain = \"evil.org\"\n" };
        let error = parse(Source { file: "agent.toml", text: GOOD }, &[drop_in]).unwrap_err().to_string();
        assert!(
            error.starts_with("agent.d/x.toml:1:1: unknown field `trust_domain`, expected one of `identity`, `secret`, `tunnel`"),
            "{error}"
        );
    }

    #[test]
    fn a_column_counts_characters() {
        let error = refusal("trust_domain = \"example.org\" # ä\n\"ä\" = 1\n");
        assert!(error.starts_with("agent.toml:2:1:"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[\\[\\]a-z=\"{}., \n0-9]{0,200}") {
            let _ = main_file(&text);
        }
    }
}
