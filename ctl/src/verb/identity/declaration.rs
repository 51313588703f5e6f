//! What `identity add` takes, and the TOML it becomes.

use std::net::IpAddr;

use reverie_core::id::{DnsName, IdentityName, SpiffeId};
use reverie_core::moment::Span;
use serde::Serialize;
use toml::{Table, Value};

use crate::failure::{Exit, Failure};

/// One identity, as options.
#[derive(Debug, clap::Args)]
pub(crate) struct Declaration {
    /// Its local name, also the folder under certs/
    pub(super) name: IdentityName,
    /// Who may have it: all must hold. Keys: uid, user, gid, group, supplementary_group, exe, sha256, unit, cgroup
    #[arg(long = "match", value_name = "KEY=VALUE", required = true, value_parser = pair)]
    matches: Vec<(String, String)>,
    /// SPIFFE ID [default: spiffe://TRUST-DOMAIN/svc/NAME]
    #[arg(long, value_name = "URI")]
    spiffe_id: Option<SpiffeId>,
    /// DNS name the certificate is for; may be repeated
    #[arg(long, value_name = "NAME")]
    dns: Vec<DnsName>,
    /// IP address the certificate is for; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// Life of a certificate, 5m to 30d [default: 7d]
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,
    /// Kind of key [default: p256]
    #[arg(long, value_parser = ["p256", "ed25519"])]
    key: Option<String>,
    /// Helps a caller with several identities choose
    #[arg(long, value_name = "TEXT")]
    hint: Option<String>,
    /// Publish files: owner=USER, group=GROUP, mode=0440; or "default"
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = pair_or_default)]
    files: Vec<(String, String)>,
    /// How the service learns of new files: unit=UNIT, signal=HUP,pidfile=PATH or redis=SOCKET
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = pair, requires = "files")]
    reload: Vec<(String, String)>,
    /// The same by a program and its arguments; no shell. Last on the line
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true, conflicts_with = "reload", requires = "files")]
    reload_command: Vec<String>,
    /// Where to see the new certificate served: host:port or postgres://host:port
    #[arg(long, value_name = "ADDRESS")]
    verify: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

fn pair_or_default(text: &str) -> Result<(String, String), String> {
    if text == "default" { Ok((String::new(), String::new())) } else { pair(text) }
}

/// The file, in the order people write it.
#[derive(Serialize)]
struct DropIn<'a> {
    identity: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a IdentityName,
    spiffe_id: Option<&'a SpiffeId>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns: &'a [DnsName],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ip: &'a [IpAddr],
    ttl: Option<Span>,
    key: Option<&'a str>,
    hint: Option<&'a str>,
    verify: Option<&'a str>,
    r#match: Table,
    files: Option<Table>,
    reload: Option<Table>,
}

impl Declaration {
    /// The drop-in file. The agent's own parser judges it afterwards.
    pub(super) fn to_toml(&self) -> Result<String, Failure> {
        let reload = match (self.reload.is_empty(), self.reload_command.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Table::from_iter([("command".to_owned(), Value::from(self.reload_command.clone()))])),
            (false, _) => Some(table("--reload", &self.reload)?),
        };
        let entry = Entry {
            name: &self.name,
            spiffe_id: self.spiffe_id.as_ref(),
            dns: &self.dns,
            ip: &self.ip,
            ttl: self.ttl,
            key: self.key.as_deref(),
            hint: self.hint.as_deref(),
            verify: self.verify.as_deref(),
            r#match: table("--match", &self.matches)?,
            files: if self.files.is_empty() { None } else { Some(table("--files", &self.files)?) },
            reload,
        };
        let text = toml::to_string(&DropIn { identity: [entry] }).map_err(|why| Failure::new(Exit::Internal, why))?;
        let name = &self.name;
        Ok(format!("# Written by `agentctl identity add {name}`; `agentctl identity rm {name}` removes it.\n\n{text}"))
    }
}

/// Numbers where the configuration wants numbers, text elsewhere. A key given twice is refused: the last one would
/// win without a word, and decide who gets the identity.
fn table(option: &str, pairs: &[(String, String)]) -> Result<Table, Failure> {
    let mut table = Table::new();
    for (key, value) in pairs.iter().filter(|(key, _)| !key.is_empty()) {
        let number = value.parse::<i64>().ok().filter(|_| matches!(key.as_str(), "uid" | "gid"));
        let value = number.map_or_else(|| Value::String(value.clone()), Value::Integer);
        if table.insert(key.clone(), value).is_some() {
            return Err(Failure::new(Exit::Usage, format_args!("{option} has {key:?} twice"))
                .advise("all selectors of an identity must hold; for another caller declare another identity"));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use reverie_core::config::{Source, parse};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        declaration: Declaration,
    }

    fn written(arguments: &[&str]) -> String {
        Line::try_parse_from([&["x"], arguments].concat()).unwrap().declaration.to_toml().unwrap()
    }

    #[test]
    fn what_is_written_is_what_the_agent_reads() {
        let text = written(&[
            "web",
            "--match",
            "user=www-data",
            "--match",
            "unit=nginx.service",
            "--dns",
            "web.example.org",
            "--ip",
            "10.0.0.1",
            "--ttl",
            "1d",
            "--files",
            "owner=root,group=www-data,mode=0440",
            "--reload",
            "unit=nginx.service",
            "--verify",
            "[::1]:443",
        ]);
        let main = Source { file: "agent.toml", text: "trust_domain = \"example.org\"\n" };
        let config = parse(main, &[Source { file: "web.toml", text: &text }]).unwrap();
        let identity = &config.identities[0];
        assert_eq!(identity.matches.unit.as_deref(), Some("nginx.service"));
        assert_eq!((identity.dns.len(), identity.ip.len(), identity.ttl), (1, 1, Span::days(1)));
        assert_eq!(identity.files.as_ref().unwrap().mode.0, 0o440);
        assert!(identity.reload.is_some() && identity.verify.is_some());
    }

    #[test]
    fn a_selector_given_twice_is_refused() {
        let line = Line::try_parse_from(["x", "web", "--match", "uid=1", "--match", "uid=2"]).unwrap();
        assert!(line.declaration.to_toml().unwrap_err().what.contains("twice"));
    }

    #[test]
    fn a_value_cannot_break_out_of_its_place() {
        let text = written(&["x", "--match", "uid=7", "--hint", "a\"\n[[identity]]\nname = \"evil\""]);
        let main = Source { file: "agent.toml", text: "trust_domain = \"example.org\"\n" };
        let config = parse(main, &[Source { file: "x.toml", text: &text }]).unwrap();
        assert_eq!(config.identities.len(), 1);
        assert_eq!(config.identities[0].matches.uid, Some(7));
    }
}
