//! Where the agent's sockets, files and configuration are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reverie_core::api::Surface;

/// Whose agent is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The system service.
    System,
    /// One person's own agent.
    User,
}

/// What decides the layout: flags first, then the environment, then what exists.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    pub(crate) socket: Option<PathBuf>,
    pub(crate) admin_socket: Option<PathBuf>,
    pub(crate) run: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) scope: Option<Scope>,
}

/// The places of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) scope: Scope,
    pub(crate) run: PathBuf,
    pub(crate) agent_socket: PathBuf,
    pub(crate) admin_socket: PathBuf,
    pub(crate) config: PathBuf,
    /// Where the store is by default; the configuration may say otherwise.
    pub(crate) state: PathBuf,
}

const SYSTEM_RUN: &str = "/run/reverie";

impl Layout {
    /// `env` reads a variable, `exists` looks at the disk: both injected, so that this can be tested.
    pub(crate) fn resolve(
        hints: Hints,
        is_root: bool,
        env: impl Fn(&str) -> Option<OsString>,
        exists: impl Fn(&Path) -> bool,
    ) -> Self {
        let dir = |variable: &str| env(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = |below: &str| dir("HOME").unwrap_or_else(|| PathBuf::from("/")).join(below);
        let user_run = dir("XDG_RUNTIME_DIR").map(|runtime| runtime.join("reverie"));
        let system_is_there = || ["admin.sock", "agent.sock"].iter().any(|name| exists(&Path::new(SYSTEM_RUN).join(name)));
        let given = hints.run.or_else(|| dir("REVERIE_RUN").filter(|_| hints.scope.is_none()));
        let scope = hints.scope.unwrap_or_else(|| match (&given, &user_run) {
            (Some(_), _) if !is_root => Scope::User,
            (None, Some(_)) if !system_is_there() => Scope::User,
            _ => Scope::System,
        });
        let run = given.unwrap_or_else(|| match (scope, user_run) {
            (Scope::User, Some(run)) => run,
            (Scope::User, None) => PathBuf::from(format!("/run/user/{}/reverie", nix::unistd::geteuid())),
            (Scope::System, _) => PathBuf::from(SYSTEM_RUN),
        });
        let config =
            hints.config.or_else(|| dir("REVERIE_CONFIG").filter(|_| hints.scope.is_none())).unwrap_or_else(|| match scope {
                Scope::System => PathBuf::from("/etc/reverie/agent.toml"),
                Scope::User => dir("XDG_CONFIG_HOME").unwrap_or_else(|| home(".config")).join("reverie/agent.toml"),
            });
        let state = match scope {
            Scope::System => PathBuf::from("/var/lib/reverie"),
            Scope::User => dir("XDG_STATE_HOME").unwrap_or_else(|| home(".local/state")).join("reverie"),
        };
        let agent_socket = hints.socket.unwrap_or_else(|| run.join("agent.sock"));
        let admin_socket = hints.admin_socket.unwrap_or_else(|| run.join("admin.sock"));
        Self { scope, run, agent_socket, admin_socket, config, state }
    }

    pub(crate) fn socket(&self, surface: Surface) -> &Path {
        match surface {
            Surface::Local => &self.agent_socket,
            Surface::Admin => &self.admin_socket,
        }
    }

    /// Folder of the drop-ins.
    pub(crate) fn drop_ins(&self) -> PathBuf {
        self.config.with_file_name("agent.d")
    }

    /// Where SPIFFE libraries and Envoy ask.
    pub(crate) fn workload_socket(&self) -> PathBuf {
        self.run.join("workload.sock")
    }

    /// The command that starts, stops or reloads this agent.
    pub(crate) fn systemctl(&self, action: &str) -> String {
        match self.scope {
            Scope::System => format!("systemctl {action} reverie-agent"),
            Scope::User => format!("systemctl --user {action} reverie-agent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(hints: Hints, is_root: bool, variables: &[(&str, &str)], system: bool) -> Layout {
        let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Layout::resolve(hints, is_root, env, |path| system && path == Path::new("/run/reverie/admin.sock"))
    }

    const HOME: &[(&str, &str)] = &[("HOME", "/home/ada"), ("XDG_RUNTIME_DIR", "/run/user/7")];

    #[test]
    fn the_system_agent_is_meant_where_there_is_one() {
        let layout = resolve(Hints::default(), false, HOME, true);
        assert_eq!(layout.admin_socket, Path::new("/run/reverie/admin.sock"));
        assert_eq!(layout.config, Path::new("/etc/reverie/agent.toml"));
    }

    #[test]
    fn a_persons_own_agent_is_meant_otherwise() {
        let layout = resolve(Hints::default(), false, HOME, false);
        assert_eq!(layout.agent_socket, Path::new("/run/user/7/reverie/agent.sock"));
        assert_eq!(layout.config, Path::new("/home/ada/.config/reverie/agent.toml"));
        assert_eq!(layout.state, Path::new("/home/ada/.local/state/reverie"));
    }

    #[test]
    fn a_scope_that_is_forced_wins_over_the_environment_and_over_what_exists() {
        let env = [HOME, &[("REVERIE_RUN", "/elsewhere")]].concat();
        let user = resolve(Hints { scope: Some(Scope::User), ..Hints::default() }, true, &env, true);
        assert_eq!(user.run, Path::new("/run/user/7/reverie"));
        let system = resolve(Hints { scope: Some(Scope::System), ..Hints::default() }, false, &env, false);
        assert_eq!(system.run, Path::new("/run/reverie"));
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let env = [("REVERIE_RUN", "/env")];
        assert_eq!(resolve(Hints::default(), false, &env, true).run, Path::new("/env"));
        let hints = Hints { run: Some("/flag".into()), socket: Some("/s".into()), ..Hints::default() };
        let layout = resolve(hints, false, &env, true);
        assert_eq!((layout.run.as_path(), layout.agent_socket.as_path()), (Path::new("/flag"), Path::new("/s")));
        assert_eq!(layout.admin_socket, Path::new("/flag/admin.sock"));
    }

    #[test]
    fn a_relative_path_in_the_environment_is_ignored() {
        assert_eq!(resolve(Hints::default(), true, &[("REVERIE_RUN", "here")], false).run, Path::new("/run/reverie"));
    }
}
