//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use reverie_core::moment::Span;

use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::layout::{Hints, Layout, Scope};
use crate::screen::Screen;
use crate::verb;

/// Talks to the Reverie agent on this host
#[derive(Debug, Parser)]
#[command(name = "agentctl", version, max_term_width = 100, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 `doctor` found a failure; 64 wrong arguments; 65 bad data, or a broken audit chain; \
66 no such file or name; 69 agent not reachable; 70 internal; 73 cannot create a file; 74 input or output failed; \
75 try again later; 77 not permitted; 78 wrong configuration";

#[derive(Debug, Args)]
#[command(next_help_heading = "Which agent")]
struct Global {
    /// The agent's socket for everyone [default: RUN/agent.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The agent's socket for administrators [default: RUN/admin.sock]
    #[arg(long, global = true, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// The agent's run directory [env: REVERIE_RUN] [default: /run/reverie if an agent is there, else
    /// $XDG_RUNTIME_DIR/reverie]
    #[arg(long, global = true, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The agent's configuration [env: REVERIE_CONFIG] [default: /etc/reverie/agent.toml, or
    /// ~/.config/reverie/agent.toml with --user]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The system's agent
    #[arg(long, global = true)]
    system: bool,
    /// Your own agent
    #[arg(long, global = true)]
    user: bool,
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "SPAN", default_value = "2m", value_parser = span)]
    timeout: Duration,
    /// JSON instead of text
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(verb::init::Args),
    Status(verb::status::Args),
    Doctor(verb::doctor::Args),
    Top(verb::top::Args),
    Whoami(verb::whoami::Args),
    Explain(verb::explain::Args),
    #[command(subcommand)]
    Identity(verb::identity::Verb),
    #[command(subcommand)]
    Cert(verb::cert::Verb),
    #[command(subcommand)]
    Ca(verb::ca::Verb),
    Bundle(verb::trust::BundleArgs),
    Crl(verb::trust::CrlArgs),
    #[command(subcommand)]
    Secret(verb::secret::Verb),
    #[command(subcommand)]
    Token(verb::token::Verb),
    Watch(verb::watch::Args),
    #[command(subcommand)]
    Mesh(verb::mesh::Verb),
    #[command(subcommand)]
    Client(verb::client::Verb),
    #[command(subcommand)]
    Tunnel(verb::tunnel::Verb),
    #[command(subcommand)]
    Audit(verb::audit::Verb),
    #[command(subcommand)]
    Config(verb::config::Verb),
    #[command(subcommand)]
    Bench(verb::bench::Verb),
    Demo(verb::demo::Args),
    Completions(verb::completions::Args),
    Man(verb::man::Args),
    Openapi(verb::openapi::Args),
}

/// What every verb works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) screen: Screen,
}

impl Session {
    pub(crate) fn layout(&self) -> &Layout {
        &self.client.layout
    }
}

impl Cli {
    pub(crate) async fn run(self) -> Outcome {
        let Global { socket, admin_socket, run_dir, config, system, user, timeout, json } = self.global;
        // clap sees a conflict only where both stand on the same side of the verb.
        if system && user {
            return Err(Failure::new(Exit::Usage, "--system and --user contradict each other").advise("give one of them"));
        }
        let scope = if system { Some(Scope::System) } else { user.then_some(Scope::User) };
        let hints = Hints { socket, admin_socket, run: run_dir, config, scope };
        let layout = Layout::resolve(hints, nix::unistd::geteuid().is_root(), |name| std::env::var_os(name), Path::exists);
        let session = &Session { client: Client { layout, timeout }, screen: Screen { json } };
        match self.verb {
            Verb::Init(args) => args.run(session),
            Verb::Status(args) => args.run(session).await,
            Verb::Doctor(args) => args.run(session).await,
            Verb::Top(args) => args.run(session).await,
            Verb::Whoami(args) => args.run(session).await,
            Verb::Explain(args) => args.run(session).await,
            Verb::Identity(verb) => verb.run(session).await,
            Verb::Cert(verb) => verb.run(session).await,
            Verb::Ca(verb) => verb.run(session).await,
            Verb::Bundle(args) => args.run(session).await,
            Verb::Crl(args) => args.run(session).await,
            Verb::Secret(verb) => verb.run(session).await,
            Verb::Token(verb) => verb.run(session).await,
            Verb::Watch(args) => args.run(session).await,
            Verb::Mesh(verb) => verb.run(session).await,
            Verb::Client(verb) => verb.run(session).await,
            Verb::Tunnel(verb) => verb.run(session).await,
            Verb::Audit(verb) => verb.run(session).await,
            Verb::Config(verb) => verb.run(session),
            Verb::Bench(verb) => verb.run(session).await,
            Verb::Demo(args) => args.run(session).await,
            Verb::Completions(args) => args.run(session),
            Verb::Man(args) => args.run(session),
            Verb::Openapi(args) => args.run(session),
        }
    }
}

/// A length of time, longer than nothing.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match text.parse::<Span>()? {
        Span(Duration::ZERO) => Err("must be longer than nothing".to_owned()),
        Span(span) => Ok(span),
    }
}

/// clap's complaint in our form: what happened, then what to try.
pub(crate) fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let what = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a verb is missing",
        _ => text.split("\n\n").next().unwrap_or_default().trim_end(),
    };
    let mut suggestions = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue].iter();
    let suggestion = suggestions.find_map(|kind| match error.get(*kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        // The likeliest is the last.
        Some(ContextValue::Strings(texts)) => texts.last().cloned(),
        _ => None,
    });
    let advice = match (suggestion, text.split("Usage: ").nth(1).and_then(|usage| usage.lines().next())) {
        (Some(suggestion), _) => format!("did you mean {suggestion:?}?"),
        (None, Some(usage)) => {
            let command: Vec<&str> = usage.split(' ').take_while(|word| !word.starts_with(['<', '[', '-', '|'])).collect();
            format!("{} --help", command.join(" "))
        }
        (None, None) => format!("{} --help", verb_in(std::env::args())),
    };
    Failure::new(Exit::Usage, what).advise(advice)
}

/// As much of a command line as names a verb.
fn verb_in(arguments: impl Iterator<Item = String>) -> String {
    let mut command = Cli::command();
    let mut words = vec!["agentctl".to_owned()];
    for argument in arguments.skip(1) {
        if let Some(verb) = command.find_subcommand(&argument).cloned() {
            command = verb;
            words.push(argument);
        }
    }
    words.join(" ")
}
