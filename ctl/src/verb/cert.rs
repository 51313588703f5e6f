//! `agentctl cert`.

use std::path::{Path, PathBuf};

use reverie_core::api::admin::{Certificates, IssuedCertificate, RevokeRequest, Revoked, RotateRequest, Rotated};
use reverie_core::api::local::{Certificate, IssueRequest};
use reverie_core::api::{Code, Operation};
use reverie_core::ca::Serial;
use reverie_core::id::IdentityName;

use crate::cli::Session;
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::issue_output;
use crate::presented::Token;
use crate::screen::{Table, date, date_or_dash, fields, plain};

/// Certificates of services
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List issued certificates that have not ended, newest first
    List,
    /// Show one issued certificate
    Show {
        /// Its serial, hexadecimal
        serial: Serial,
    },
    /// Get a certificate for an identity of yours: with a new key, or for a certificate request
    Issue {
        /// The identity
        name: IdentityName,
        /// A certificate request (PKCS #10, PEM); its key stays with you
        #[arg(long, value_name = "FILE")]
        csr: Option<PathBuf>,
        /// Write tls.crt, tls.key and ca.crt here instead of to standard output
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Replace files that are there
        #[arg(long, requires = "out")]
        force: bool,
        #[command(flatten)]
        token: TokenFile,
    },
    /// Rotate an identity now: issue, publish, reload, verify
    Rotate {
        /// The identity
        name: IdentityName,
        #[command(flatten)]
        token: TokenFile,
    },
    /// Revoke a certificate, an identity's certificates, or an intermediate
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Revoke {
        /// One certificate
        #[arg(long, group = "what")]
        serial: Option<Serial>,
        /// Every certificate of an identity; one the agent keeps is replaced at once
        #[arg(long, group = "what", value_name = "NAME")]
        identity: Option<IdentityName>,
        /// An intermediate of this host, by fingerprint; what the agent keeps is replaced at once
        #[arg(long, group = "what", value_name = "FINGERPRINT", value_parser = fingerprint)]
        intermediate: Option<String>,
        /// With --serial: the other host's intermediate that signed it; who holds that lists it, or loses it after 30 s
        #[arg(long, requires = "serial", value_name = "FINGERPRINT", value_parser = fingerprint)]
        issuer: Option<String>,
        #[command(flatten)]
        token: TokenFile,
    },
}

/// A capability token, for a caller who is no administrator.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenFile {
    /// Use the capability token in this file, "-" for standard input [env: REVERIE_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenFile {
    pub(super) fn find(&self) -> Result<Option<Token>, Failure> {
        Token::find(self.token_file.as_deref())
    }
}

fn fingerprint(text: &str) -> Result<String, String> {
    match text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(text.to_lowercase()),
        false => Err("a fingerprint has 64 hexadecimal digits: `agentctl ca status --json` shows it".to_owned()),
    }
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::List => list(session).await,
            Self::Show { serial } => show(session, serial).await,
            Self::Issue { name, csr, out, force, token } => {
                issue(session, &name, csr.as_deref(), out.as_deref(), force, &token).await
            }
            Self::Rotate { name, token } => rotate(session, &name, &token).await,
            Self::Revoke { serial, identity, intermediate, issuer, token } => {
                let serial = serial.map(|serial| serial.to_string());
                let identity = identity.map(|identity| identity.to_string());
                revoke(session, RevokeRequest { serial, identity, intermediate, issuer }, &token).await
            }
        }
    }
}

async fn list(session: &Session) -> Outcome {
    let all: Certificates = session.client.call(Call::of(Operation::Certificates)).await?;
    session.screen.show(&all, |all| {
        let mut table = Table::new(["IDENTITY", "SERIAL", "FROM", "UNTIL", "REVOKED"], "No certificate is in force.");
        for IssuedCertificate { identity, summary, .. } in &all.certificates {
            let (from, until) = (date(summary.not_before), date(summary.not_after));
            table.row([identity.clone(), summary.serial.clone(), from, until, date_or_dash(summary.revoked_at)]);
        }
        let more = if all.more { "… and older ones\n" } else { "" };
        table.render() + more
    })
}

async fn show(session: &Session, serial: Serial) -> Outcome {
    let all: Certificates = session.client.call(Call::of(Operation::Certificates)).await?;
    let wanted = serial.to_string();
    let Some(found) = all.certificates.into_iter().find(|certificate| certificate.summary.serial == wanted) else {
        let among = if all.more { " among the newest" } else { "" };
        return Err(Failure::new(Exit::NoInput, format_args!("no certificate in force has the serial {wanted}{among}"))
            .advise("`agentctl cert list` lists them; the audit log knows every one: `agentctl audit export`"));
    };
    session.screen.show(&found, |found| {
        let summary = &found.summary;
        fields([
            ("serial", summary.serial.clone()),
            ("identity", found.identity.clone()),
            ("spiffe id", found.spiffe_id.clone()),
            ("from", date(summary.not_before)),
            ("until", date(summary.not_after)),
            ("renewal at", date_or_dash(summary.renew_at)),
            ("revoked at", date_or_dash(summary.revoked_at)),
            ("generation", summary.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string())),
            ("issuer", found.issuer.clone()),
        ])
    })
}

async fn issue(
    session: &Session,
    name: &IdentityName,
    csr: Option<&Path>,
    out: Option<&Path>,
    force: bool,
    token: &TokenFile,
) -> Outcome {
    let token = token.find()?;
    let csr = csr.map(issue_output::read_request).transpose()?;
    if let Some(dir) = out {
        issue_output::prepare(dir, csr.is_none(), force)?;
    } else if csr.is_none() && session.screen.is_terminal() {
        return Err(Failure::new(Exit::Usage, "this would show a private key on the terminal")
            .advise("write files with --out DIR, or redirect standard output"));
    }
    let call = Call::of(Operation::IssueCertificate).named(name.as_str()).token(token.as_ref());
    let asked_for = csr.is_some();
    let answer = session.client.call(call.body(&IssueRequest { csr })?).await;
    let certificate: Certificate = answer.map_err(|failure| match failure.code {
        Some(Code::BadRequest) if asked_for => {
            failure.advise(format_args!("compare the certificate request with `agentctl identity show {name}`"))
        }
        _ => failure,
    })?;
    match out {
        Some(dir) => issue_output::write(session.screen, &certificate, dir),
        None if session.screen.json => session.screen.json(&certificate),
        None => issue_output::print(session.screen, &certificate),
    }
}

async fn rotate(session: &Session, name: &IdentityName, token: &TokenFile) -> Outcome {
    let token = token.find()?;
    let call = match &token {
        Some(_) => Call::of(Operation::RotateOwn).named(name.as_str()).token(token.as_ref()),
        None => Call::of(Operation::Rotate).body(&RotateRequest { identity: name.to_string() })?,
    };
    let rotated: Rotated = session.client.call(call).await?;
    session.screen.show(&rotated, |rotated| {
        let no = || "-".to_owned();
        fields([
            ("identity", rotated.identity.clone()),
            ("new serial", rotated.certificate.serial.clone()),
            ("until", date(rotated.certificate.not_after)),
            ("published", if rotated.published { "yes" } else { "no files" }.to_owned()),
            ("reloaded", rotated.reloaded.clone().unwrap_or_else(no)),
            ("seen served", rotated.verified.clone().unwrap_or_else(no)),
        ])
    })?;
    match &rotated.fault {
        None => Ok(0),
        Some(fault) => Err(Failure::new(Exit::TempFail, format_args!("{name} has a new certificate, but {fault}"))
            .advise("the agent tries again by itself; `agentctl status` shows the alarm until it has worked")),
    }
}

async fn revoke(session: &Session, request: RevokeRequest, token: &TokenFile) -> Outcome {
    let token = token.find()?;
    let call = match (&token, &request) {
        (Some(_), RevokeRequest { identity: Some(identity), .. }) => {
            Call::of(Operation::RevokeOwn).named(identity).token(token.as_ref())
        }
        (Some(_), _) => {
            return Err(Failure::new(Exit::Usage, "a capability token can revoke an identity's certificates, nothing else")
                .advise("use --identity NAME, or ask an administrator"));
        }
        (None, request) => Call::of(Operation::Revoke).body(request)?,
    };
    let revoked: Revoked = session.client.call(call).await?;
    session.screen.show(&revoked, |revoked| match revoked.serials.as_slice() {
        [] => "nothing was left to revoke\n".to_owned(),
        serials => serials.iter().map(|serial| format!("revoked {}\n", plain(serial))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_checked_before_it_is_sent() {
        assert!(fingerprint("abc").is_err());
        assert_eq!(fingerprint(&"A".repeat(64)).unwrap(), "a".repeat(64));
    }
}
