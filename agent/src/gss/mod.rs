//! The role that speaks Kerberos, through libkrb5. It lives for one question (and the end of the handshake that it began),
//! since libkrb5 has no deadlines: who asked stops waiting, and the process ends itself.

mod kerberos;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use reverie_core::ipc::gss::{Reply, Request};
use reverie_sys::process;

use crate::ops::channel::{ChannelError, Server, stdin_channel};
use crate::ops::confinement;
use kerberos::Initiator;

/// How long a question may be in coming, the second one included.
const QUESTION_DEADLINE: Duration = Duration::from_secs(30);
/// The process ends after this, whatever libkrb5 waits for.
const LIFE: Duration = Duration::from_secs(75);
/// Two belong to one handshake.
const MAX_QUESTIONS: usize = 2;
/// A longer token is refused before libkrb5 sees it. Tickets with many groups reach 64 KiB.
const MAX_TOKEN: usize = 96 * 1024;

/// Why there was no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Standard input is not a channel from the keeper.
    #[error("standard input is not a socket from the keeper ({0}); the role gss is started by the keeper or by its socket unit")]
    NoChannel(io::Error),
    /// No thread could be had for the deadline.
    #[error("no thread could be started: {0}")]
    Thread(io::Error),
}

/// Answers from standard input.
pub fn run() -> Result<(), Error> {
    process::set_nondumpable().and_then(|()| process::set_no_new_privs()).map_err(ChannelError::from)?;
    confinement::give_up_system_calls().unwrap_or_else(|error| tracing::warn!(%error, "the role gss could not be confined"));
    let deadline = std::thread::Builder::new().name("deadline".into()).stack_size(64 << 10).spawn(|| {
        std::thread::sleep(LIFE);
        tracing::warn!("libkrb5 did not answer in time: ending");
        std::process::exit(70);
    });
    deadline.map_err(Error::Thread)?;
    serve(stdin_channel().map_err(Error::NoChannel)?)
}

/// Answers one question, or the two of a handshake that we began.
pub fn serve(channel: OwnedFd) -> Result<(), Error> {
    let mut server = Server::<Request, Reply>::accept(channel, "gss")?;
    server.set_receive_timeout(QUESTION_DEADLINE)?;
    let mut begun = None;
    for _ in 0..MAX_QUESTIONS {
        let Some(incoming) = server.receive()? else { return Ok(()) };
        let reply = match incoming.body {
            Ok(request) => answer(&request, &mut begun),
            Err(error) => Reply::Unavailable { message: error.to_string() },
        };
        server.replies().send(incoming.id, &reply)?;
        if begun.is_none() {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Request, begun: &mut Option<Initiator>) -> Reply {
    match request {
        Request::Accept { token, .. } | Request::Finish { token } if token.len() > MAX_TOKEN => {
            Reply::Refused { message: format!("the token is longer than {MAX_TOKEN} bytes") }
        }
        Request::Accept { keytab, service, token, channel_binding } => {
            kerberos::accept(keytab, service.as_deref(), token, channel_binding)
        }
        Request::Initiate { keytab, principal, target, channel_binding } => {
            match Initiator::begin(keytab, principal, target, channel_binding) {
                Ok((initiator, token)) => {
                    *begun = Some(initiator);
                    Reply::Token(token)
                }
                Err(reply) => reply,
            }
        }
        Request::Finish { token } => match begun.take() {
            Some(mut initiator) => initiator.finish(token),
            None => Reply::Unavailable { message: "no handshake was begun in this process; begin it again".to_owned() },
        },
    }
}
