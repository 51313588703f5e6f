//! `agentctl ca`.

use std::time::Duration;

use reverie_core::api::Operation;
use reverie_core::api::admin::{IssuerKind, IssuerStatus, RotateIssuerRequest, Status};

use super::status::issuers;
use crate::cli::{Session, span};
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::{date, plain};

/// Roots and intermediates
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Show roots and intermediates
    Status,
    /// Make a successor of a root or an intermediate
    Rotate {
        /// Which
        #[arg(value_enum)]
        issuer: Issuer,
        /// For a root: from its publication to its first signature [default: ca.root_overlap of the configuration]
        #[arg(long, value_name = "SPAN", value_parser = span)]
        overlap: Option<Duration>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Issuer {
    Root,
    Intermediate,
}

#[derive(serde::Serialize)]
struct Issuers {
    roots: Vec<IssuerStatus>,
    intermediates: Vec<IssuerStatus>,
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Status => {
                let Status { roots, intermediates, .. } = session.client.call(Call::of(Operation::Status)).await?;
                session.screen.show(&Issuers { roots, intermediates }, |all| issuers(&all.roots, &all.intermediates))
            }
            Self::Rotate { issuer, overlap } => rotate(session, issuer, overlap).await,
        }
    }
}

async fn rotate(session: &Session, issuer: Issuer, overlap: Option<Duration>) -> Outcome {
    if issuer == Issuer::Intermediate && overlap.is_some() {
        let what = "an intermediate has no overlap: leaves of the old one stay good until they end";
        return Err(crate::failure::Failure::new(crate::failure::Exit::Usage, what).advise("leave out --overlap"));
    }
    let (kind, name) = match issuer {
        Issuer::Root => (IssuerKind::Root, "root"),
        Issuer::Intermediate => (IssuerKind::Intermediate, "intermediate"),
    };
    let request = RotateIssuerRequest { issuer: kind, overlap_seconds: overlap.map(|span| span.as_secs()) };
    let made: IssuerStatus = session.client.call(Call::of(Operation::RotateIssuer).body(&request)?).await?;
    session.screen.show(&made, |made| {
        let (fingerprint, state) = (plain(&made.fingerprint), plain(&made.state));
        format!("new {name} {fingerprint}\n{state}, from {} until {}\n", date(made.not_before), date(made.not_after))
    })
}
