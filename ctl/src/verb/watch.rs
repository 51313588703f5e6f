//! `agentctl watch`.

use reverie_core::api::Operation;
use reverie_core::api::local::WatchEvent;

use crate::cli::Session;
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::plain;

/// Print the rotations of your identities and the changes of trust, as they happen
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop after this many events; the first ones describe the present
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let mut events = session.client.events(Call::of(Operation::Watch)).await?;
        let mut seen = 0;
        while self.count.is_none_or(|count| seen < count) {
            let Some(event) = events.next::<WatchEvent>().await? else {
                return Err(Failure::new(Exit::TempFail, "the agent ended the stream").advise("it may be restarting: try again"));
            };
            match session.screen.json {
                true => session.screen.json_line(&event)?,
                false => session.screen.text(&line(&event))?,
            };
            if event == WatchEvent::Refused {
                return Err(Failure::new(Exit::NotPermitted, "you no longer have any identity here")
                    .advise("ask an administrator to run `agentctl explain --pid PID` for your process"));
            }
            seen += 1;
        }
        Ok(0)
    }
}

fn line(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Rotation { identity, serial, generation } => {
            format!("rotation  {}  serial {}  generation {generation}", plain(identity), plain(serial))
        }
        WatchEvent::Trust { digest } => format!("trust     {}", plain(digest)),
        WatchEvent::Refused => "refused".to_owned(),
    }
}
