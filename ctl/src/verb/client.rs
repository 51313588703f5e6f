//! `agentctl client`.

use reverie_core::api::Operation;
use reverie_core::api::admin::Health;
use reverie_core::api::mesh::ClientRequest;

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Outcome;

/// OAuth clients, known to every host of the mesh
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a client known to every host, or change it
    Put {
        /// Its id
        #[arg(value_parser = client_id)]
        id: String,
        /// For people
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
    },
    /// Forget a client, everywhere
    Rm {
        /// Its id
        #[arg(value_parser = client_id)]
        id: String,
    },
}

/// What needs no escaping in a path.
fn client_id(text: &str) -> Result<String, String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    match (1..=128).contains(&text.len()) && text.bytes().all(is_plain) && !matches!(text, "." | "..") {
        true => Ok(text.to_owned()),
        false => Err("a client id has 1 to 128 letters, digits, '-', '.', '_' and '~'".to_owned()),
    }
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Put { id, name } => {
                let request = ClientRequest { display_name: name };
                let done: Health = session.client.call(Call::of(Operation::PutClient).named(&id).body(&request)?).await?;
                session.screen.show(&done, |_| format!("client {id} is known; every host hears of it\n"))
            }
            Self::Rm { id } => {
                let done: Health = session.client.call(Call::of(Operation::RemoveClient).named(&id)).await?;
                session.screen.show(&done, |_| format!("client {id} is forgotten\n"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_that_could_leave_its_path_is_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a%2f", "a?b", "ä", &"x".repeat(129)] {
            assert!(client_id(bad).is_err(), "{bad:?}");
        }
        assert!(client_id("grafana-1.example_org~x").is_ok());
    }
}
