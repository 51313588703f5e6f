//! `agentctl init`: a first configuration, commented.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use reverie_core::config::{Source, parse};
use reverie_core::id::{NodeId, TrustDomain};

use crate::cli::Session;
use crate::configuration::refused;
use crate::failure::{Exit, Failure, Outcome};
use crate::layout::Scope;
use crate::screen::plain;

/// Write a first configuration, commented; never overwrites one
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The SPIFFE trust domain of all identities [default: the domain of the host's name]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<TrustDomain>,
    /// The host's name in the mesh [default: its fully qualified domain name, looked up at each start]
    #[arg(long, value_name = "NAME")]
    node_id: Option<NodeId>,
}

#[derive(serde::Serialize)]
struct Written {
    file: String,
    trust_domain: String,
}

impl Args {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let layout = session.layout();
        let trust_domain = match self.trust_domain {
            Some(domain) => domain,
            None => domain_of(&nix::unistd::gethostname().unwrap_or_default().to_string_lossy())?,
        };
        let text = configuration(&trust_domain, self.node_id.as_ref(), layout.scope);
        let name = layout.config.display().to_string();
        parse(Source { file: &name, text: &text }, &[]).map_err(refused)?;
        write_new(&layout.config, &text, layout.scope)?;
        let next = match layout.scope {
            Scope::System => layout.systemctl("enable --now"),
            Scope::User => format!("{}, or reverie-agent --user", layout.systemctl("enable --now")),
        };
        session.screen.note(format_args!("Declare an identity with `agentctl identity add`, then start the agent: {next}"));
        session.screen.show(&Written { file: name, trust_domain: trust_domain.to_string() }, |written| {
            format!("wrote {} for the trust domain {}\n", plain(&written.file), written.trust_domain)
        })
    }
}

fn domain_of(host: &str) -> Result<TrustDomain, Failure> {
    let host = host.to_lowercase();
    let domain = match host.split_once('.') {
        Some((_, domain)) if !domain.is_empty() => domain.to_owned(),
        // Reserved for private use (ICANN, 2024): nobody else can own it.
        _ => format!("{host}.internal"),
    };
    domain.parse().map_err(|why| Failure::new(Exit::Usage, why).advise("name the trust domain with --trust-domain example.org"))
}

fn write_new(path: &Path, text: &str, scope: Scope) -> Result<(), Failure> {
    let (folder_mode, file_mode) = if scope == Scope::System { (0o755, 0o644) } else { (0o700, 0o600) };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(folder_mode).create(folder);
        made.map_err(|error| Failure::writing(folder, &error))?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(file_mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(Exit::CantCreate, format_args!("{} exists already", path.display()))
            .advise("edit it and check it with `agentctl config check`, or move it away first"),
        _ => Failure::writing(path, &error),
    })
}

fn configuration(trust_domain: &TrustDomain, node_id: Option<&NodeId>, scope: Scope) -> String {
    let node_id = match node_id {
        Some(node_id) => format!("node_id = \"{node_id}\""),
        None => "# node_id = \"host1.example.org\"".to_owned(),
    };
    let (run, state) = match scope {
        Scope::System => ("/run/reverie", "/var/lib/reverie"),
        Scope::User => ("$XDG_RUNTIME_DIR/reverie", "$XDG_STATE_HOME/reverie"),
    };
    include_str!("../agent.toml.in")
        .replace("@TRUST_DOMAIN@", trust_domain.as_str())
        .replace("@NODE_ID@", &node_id)
        .replace("@RUN@", run)
        .replace("@STATE@", state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configuration_is_a_good_one() {
        let domain: TrustDomain = "example.org".parse().unwrap();
        for scope in [Scope::System, Scope::User] {
            let text = configuration(&domain, Some(&"host1.example.org".parse().unwrap()), scope);
            let config = parse(Source { file: "agent.toml", text: &text }, &[]).unwrap();
            assert_eq!(config.trust_domain, domain);
            assert!(!text.contains('@'), "{text}");
        }
    }

    #[test]
    fn what_it_shows_commented_out_is_good_too() {
        let text = configuration(&"example.org".parse().unwrap(), None, Scope::System);
        let uncommented = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with('[') || code.contains(" = ") => code,
            _ => line,
        });
        let text = uncommented.collect::<Vec<_>>().join("\n");
        let config = parse(Source { file: "agent.toml", text: &text }, &[]).unwrap();
        assert_eq!((config.identities.len(), config.secrets.len()), (1, 1));
    }

    #[test]
    fn the_trust_domain_follows_from_the_hosts_name() {
        assert_eq!(domain_of("Host1.Example.org").unwrap().as_str(), "example.org");
        assert_eq!(domain_of("laptop").unwrap().as_str(), "laptop.internal");
        assert!(domain_of("bad name").is_err());
    }
}
