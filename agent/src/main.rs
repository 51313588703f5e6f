//! `reverie-agent`: picks the role and runs it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reverie_agent::keeper::{self, KeeperError};
use reverie_agent::ops::host::Scope;
use reverie_agent::{gss, net, ops, prober, sealing, tunnel, view, warden};

/// The trust agent of this host: identities, secrets and tokens for local processes.
#[derive(Debug, Parser)]
#[command(name = "reverie-agent", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    daemon: Daemon,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Daemon {
    /// Configuration file; drop-ins are read from `agent.d` beside it [default: /etc/reverie/agent.toml, or the user's].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run for one person: paths below $XDG_CONFIG_HOME, $XDG_STATE_HOME and $XDG_RUNTIME_DIR.
    #[arg(long)]
    user: bool,
    /// Which role this process has. The others than the keeper are started by it or by systemd.
    #[arg(long, value_enum, default_value = "keeper")]
    role: Role,
    /// For the warden and the view: the directory they publish into.
    #[arg(long, value_name = "DIR", default_value = "/run/reverie")]
    run_dir: PathBuf,
    /// For the warden: the user its requests must come from.
    #[arg(long, value_name = "NAME")]
    keeper_user: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Keys, rules, local sockets.
    Keeper,
    /// Facts about callers, files, reloads. Speaks on its standard input.
    Warden,
    /// Sees what a service serves. Speaks on its standard input.
    Prober,
    /// The mesh on the network. Speaks on its standard input.
    Net,
    /// Tunnels: mutual TLS to other hosts. Speaks on its standard input.
    Tunnel,
    /// Kerberos, through libkrb5. Speaks on its standard input.
    Gss,
    /// The file view. Speaks on its standard input; its device is its standard output, or handed over by systemd.
    View,
    /// Mounts the file view, starts the role view on it, and detaches it in the end, for each channel that it is sent.
    ViewMount,
    /// For the unit of the view, before it: mounts, and has systemd hand the device over.
    ViewAttach,
    /// For the unit of the view, after it: detaches the mount that it left.
    ViewDetach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, show or renew the sealed root secret.
    Seal(sealing::Seal),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            // Help and version come this way too. 64 is EX_USAGE (sysexits.h).
            let _ = said.print();
            return if said.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let scope = match cli.daemon.user {
        true => Scope::User,
        false => Scope::System,
    };
    match cli.command {
        Some(Command::Seal(seal)) => report(sealing::run(&seal), |error| error.exit_code()),
        None => match cli.daemon.role {
            Role::Keeper => report(run_keeper(cli.daemon, scope), KeeperError::exit_code),
            Role::Warden => {
                ops::logging::start("info");
                report(run_warden(&cli.daemon), |_| 70)
            }
            Role::Gss => {
                ops::logging::start("warn");
                report(gss::run(), |_| 70)
            }
            Role::Prober => {
                ops::logging::start("warn");
                report(prober::run(), |_| 70)
            }
            Role::View => {
                ops::logging::start("info");
                report(view::run(), |_| 70)
            }
            Role::ViewMount | Role::ViewAttach | Role::ViewDetach => {
                ops::logging::start("info");
                let (point, role) = (cli.daemon.run_dir.join(view::FOLDER), cli.daemon.role);
                let result = match role {
                    Role::ViewAttach => view::mount::attach_for_unit(&point),
                    Role::ViewDetach => view::mount::detach_dead(&point),
                    _ => view::mount::run(&point),
                };
                report(result, |_| 70)
            }
            Role::Tunnel => {
                ops::logging::start("info");
                report(tunnel::run(), |_| 70)
            }
            Role::Net => {
                ops::logging::start("info");
                report(net::run(), |_| 70)
            }
        },
    }
}

fn report<E: std::fmt::Display>(result: Result<(), E>, code: impl FnOnce(&E) -> u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reverie-agent: {error}");
            ExitCode::from(code(&error))
        }
    }
}

fn run_keeper(daemon: Daemon, scope: Scope) -> Result<(), KeeperError> {
    let config = daemon.config.map_or_else(|| scope.default_config(), Ok)?;
    // Threads inherit it; one that is there already would not have it.
    let options = keeper::Options::settle(config, scope)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8)))
        .thread_name("keeper")
        .enable_all()
        .build()
        .map_err(|error| KeeperError::Io { what: "cannot start threads".to_owned(), error })?;
    let result = runtime.block_on(keeper::run(options));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

fn run_warden(daemon: &Daemon) -> Result<(), Box<dyn std::error::Error>> {
    let keeper_uid = match &daemon.keeper_user {
        None => None,
        Some(name) => match nix::unistd::User::from_name(name)? {
            Some(user) => Some(user.uid.as_raw()),
            None => return Err(format!("the user {name:?} (--keeper-user) does not exist").into()),
        },
    };
    warden::run(warden::Options { keeper_uid, ..warden::Options::new(daemon.run_dir.clone()) })?;
    Ok(())
}
