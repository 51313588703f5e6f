//! `agentctl mesh`.

mod address;
mod change;
mod envelope;
mod limits;
mod payload;
mod view;

use std::time::Duration;

use reverie_core::api::Operation;
use reverie_core::api::mesh::{InviteRequest, Invited, MeshStatus};
use reverie_core::id::{NodeId, TrustDomain};

use crate::cli::{Session, span};
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::plain;

/// The mesh: hosts that agree without a server
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Show whether the mesh is well, as this host sees it, and what to do where it is not
    Status,
    /// Show every host: alive, in sync, clock, last exchange, last error
    Peers,
    /// Found a mesh: this host becomes its first authority
    Init {
        /// Must be what the configuration says [default: just that]
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: Option<TrustDomain>,
    },
    /// Print a one-time token for a host to join; the line goes to the standard input of `mesh join` there
    Invite {
        /// The host that may redeem it
        node: NodeId,
        #[command(flatten)]
        terms: Terms,
    },
    /// Join a mesh: by the token on standard input, or by Kerberos
    Join {
        /// A member, HOST or HOST:PORT; with a token, the host that made it
        #[arg(value_parser = address::parse)]
        address: String,
        /// Without a token, by this host's Kerberos keytab
        #[arg(long)]
        kerberos: bool,
    },
    /// Make a member an authority: it gets a root of its own, admits and evicts
    Promote {
        /// Which
        node: NodeId,
        #[command(flatten)]
        consent: Consent,
    },
    /// Put a host out, and revoke what it holds; on an authority
    Evict {
        /// Which
        node: NodeId,
        /// Why, for people
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: Option<String>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Print a one-time token for a host that lost its keys or was put out; on an authority
    Readmit {
        /// The host that may redeem it
        node: NodeId,
        #[command(flatten)]
        terms: Terms,
        #[command(flatten)]
        consent: Consent,
    },
    /// Leave the mesh: what this host holds is revoked everywhere
    Leave {
        #[command(flatten)]
        consent: Consent,
    },
    /// Rotate the cluster wrapping key (on an authority), or this host's own keys
    Rotate {
        /// Which
        what: change::Rotation,
    },
    /// Write again after a restore from a backup or a copy: in a new epoch, once the other copy is off
    Resume {
        #[command(flatten)]
        consent: Consent,
    },
    /// Say what a host may issue; replaces what was said before; on an authority
    Limits {
        /// Which host
        node: NodeId,
        #[command(flatten)]
        limits: limits::Limits,
    },
    #[command(subcommand)]
    Envelope(envelope::Verb),
}

/// On which terms a token is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Terms {
    /// How long it can be redeemed, up to 7d
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = ttl)]
    ttl: Duration,
    #[command(flatten)]
    limits: limits::Limits,
}

/// Whether to ask before something that cannot be taken back.
#[derive(Debug, clap::Args)]
pub(crate) struct Consent {
    /// Do not ask; nobody is asked either where standard input is no terminal
    #[arg(long)]
    yes: bool,
}

impl Consent {
    fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes || crate::screen::consents(question)? {
            return Ok(());
        }
        Err(Failure::new(Exit::TempFail, "nothing was done").advise("run it again and answer \"y\", or give --yes"))
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = span(text)?;
    match (Duration::from_secs(1)..=Duration::from_secs(604_800)).contains(&ttl) {
        true => Ok(ttl),
        false => Err("a token is good for 1s to 7d".to_owned()),
    }
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        1..=200 => Ok(text.to_owned()),
        _ => Err("a reason has 1 to 200 bytes".to_owned()),
    }
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Status => session.screen.show(&status(session).await?, view::status),
            Self::Peers => session.screen.show(&status(session).await?, view::peers),
            Self::Init { trust_domain } => change::init(session, trust_domain).await,
            Self::Invite { node, terms } => token(session, Operation::Invite, node, terms).await,
            Self::Join { address, kerberos } => change::join(session, address, kerberos).await,
            Self::Promote { node, consent } => {
                consent.ask(&format!("Make {node} an authority? It can then admit and evict every host, this one included."))?;
                change::promote(session, node).await
            }
            Self::Evict { node, reason, consent } => {
                consent.ask(&format!(
                    "Put {node} out? Its certificates and keys are revoked on every host; only `mesh readmit` brings it back."
                ))?;
                change::evict(session, node, reason).await
            }
            Self::Readmit { node, terms, consent } => {
                consent.ask(&format!("Let {node} come back with new keys? Its old ones are void once it does."))?;
                token(session, Operation::Readmit, node, terms).await
            }
            Self::Leave { consent } => {
                consent.ask(
                    "Leave the mesh? What this host issued is revoked on every host; only an authority's `mesh readmit` brings it \
                     back.",
                )?;
                change::leave(session).await
            }
            Self::Rotate { what } => change::rotate(session, what).await,
            Self::Resume { consent } => {
                consent.ask("Is every other copy of this host switched off for good? Two that write would be put out as one.")?;
                change::resume(session).await
            }
            Self::Limits { node, limits } => change::limits(session, node, limits).await,
            Self::Envelope(verb) => verb.run(session),
        }
    }
}

async fn status(session: &Session) -> Result<MeshStatus, Failure> {
    session.client.call(Call::of(Operation::Mesh)).await
}

/// The token alone goes to standard output, so that it can be piped to the new host; what to do with it stands beside it.
async fn token(session: &Session, operation: Operation, node: NodeId, terms: Terms) -> Outcome {
    let Terms { ttl, limits } = terms;
    let request = InviteRequest { node_id: node.clone(), ttl_seconds: ttl.as_secs(), limits: limits.given_for(&node) };
    let invited: Invited = session.client.call(Call::of(operation).body(&request)?).await?;
    let at = plain(invited.addresses.first().map_or("ADDRESS", String::as_str));
    session.screen.note(format_args!(
        "Once, until {}, on {node}: agentctl mesh join {at}\nIt asks for the line below; or at once: agentctl mesh {} {node} | ssh {node} agentctl mesh join {at}\n",
        crate::screen::date(invited.expires_at),
        if operation == Operation::Invite { "invite" } else { "readmit --yes" },
    ));
    session.screen.show(&invited, |invited| format!("{}\n", plain(&invited.token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_a_second_to_a_week() {
        assert!(ttl("1s").is_ok() && ttl("7d").is_ok());
        assert!(ttl("500ms").is_err() && ttl("8d").is_err() && ttl("0s").is_err());
    }

    #[test]
    fn a_reason_is_a_short_line() {
        assert!(reason("").is_err() && reason(&"x".repeat(201)).is_err() && reason("stolen").is_ok());
    }
}
