//! `agentctl bundle` and `agentctl crl`.

use reverie_core::api::Operation;
use reverie_core::api::local::{Bundle, Crls};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;
use crate::screen::plain_block;

/// Print the roots to trust, as PEM
#[derive(Debug, clap::Args)]
pub(crate) struct BundleArgs {}

/// Print the revocation lists of this host's issuers, as PEM
#[derive(Debug, clap::Args)]
pub(crate) struct CrlArgs {}

impl BundleArgs {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let bundle: Bundle = session.client.call(Call::of(Operation::Bundle)).await?;
        session.screen.show(&bundle, |bundle| pem(&bundle.roots))
    }
}

impl CrlArgs {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let crls: Crls = session.client.call(Call::of(Operation::Crl)).await?;
        session.screen.show(&crls, |crls| pem(&crls.crls))
    }
}

fn pem(blocks: &[String]) -> String {
    blocks.iter().map(|block| format!("{}\n", plain_block(&block.replace("\r\n", "\n")).trim_end())).collect()
}
