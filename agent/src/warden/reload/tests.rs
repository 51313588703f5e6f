use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::fixture::{Cgroup, Process, eventually, require_root, write_script};
use super::*;

const HUP: i32 = 1;

fn options(directory: &Path) -> Options {
    Options {
        systemctl: directory.join("systemctl"),
        reload_deadline: Duration::from_secs(2),
        ..Options::new(directory.to_owned())
    }
}

fn run(what: Reload, options: &Options) -> Result<(), String> {
    reload(&what, options).map(|_| ()).map_err(|failure| match failure {
        Failure::Refused(message) => message,
        Failure::Gone => "gone".into(),
    })
}

fn command(words: &[&str]) -> Result<(), String> {
    let argv = words.iter().map(|word| (*word).to_owned()).collect();
    run(Reload::Command { argv }, &options(Path::new("/nonexistent")))
}

/// Ended, though perhaps not yet waited for by whoever inherited it.
fn has_ended(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[test]
fn a_command_that_hangs_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = "(trap '' TERM HUP; sleep 600) & echo $! $$ > \"$0.new\"; mv \"$0.new\" \"$0\"; echo working; wait";
    let before = Instant::now();
    let error = command(&["/bin/sh", "-c", script, pids.to_str().unwrap()]).unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(20));
    assert!(error.contains("had not ended after 2 s and was killed; it had said: working"), "{error}");
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        eventually("kill", || has_ended(pid));
    }
}

#[test]
fn what_a_failing_command_said_is_in_the_error_and_bounded() {
    let error = command(&["/bin/sh", "-c", "echo one; echo two >&2; exit 3"]).unwrap_err();
    assert_eq!(error, "/bin/sh failed with status 3: one\ntwo");
    let error = command(&["/bin/sh", "-c", "yes flood | head -c 20000000; exit 1"]).unwrap_err();
    assert!(error.contains("flood") && error.len() < 5000, "{}", error.len());
    assert!(command(&["/bin/sh", "-c", "kill -9 $$"]).unwrap_err().contains("signal: 9"));
    assert!(command(&["/nonexistent/program"]).unwrap_err().contains("could not start /nonexistent/program"));
}

#[test]
fn a_child_that_stays_behind_with_the_output_does_not_hold_the_reload_up() {
    let before = Instant::now();
    command(&["/bin/sh", "-c", "sleep 30 & exit 0"]).unwrap();
    assert!(before.elapsed() < Duration::from_secs(2));
}

#[test]
fn no_shell_reads_a_command_and_it_gets_neither_input_nor_environment() {
    assert!(command(&["/usr/bin/test", "$(echo a)", "=", "a"]).is_err());
    command(&["/usr/bin/test", "$(echo a)", "=", "$(echo a)"]).unwrap();
    let said = command(&["/bin/sh", "-c", "env; cat; readlink /proc/self/fd/0; exit 1"]).unwrap_err();
    assert!(said.contains("PATH=/usr/local/sbin") && said.contains("/dev/null"), "{said}");
    assert!(!said.contains("CARGO") && !said.contains("HOME="), "{said}");
    for bad in [&[][..], &["reload.sh"], &["./reload.sh"], &[""]] {
        command(bad).unwrap_err();
    }
    assert!(command(&["/bin/true"; 65]).unwrap_err().contains("too many"));
}

#[test]
fn systemctl_is_asked_for_the_unit_and_what_it_says_is_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let unit = |unit: &str, user_manager| run(Reload::Unit { unit: unit.into(), user_manager }, &options);
    let active = |then: &str| {
        write_script(
            &options.systemctl,
            &format!(
                "#!/bin/sh\ncase \"$*\" in *LoadState*) printf 'LoadState=loaded\\nActiveState=active\\n'; exit;; esac\n{then}\n"
            ),
        );
    };
    active("echo \"$@\"\nexit 5");
    let error = unit("nginx.service", false).unwrap_err();
    assert!(error.ends_with("failed with status 5: --no-ask-password reload -- nginx.service"), "{error}");
    let error = unit("nginx.service", true).unwrap_err();
    assert!(error.ends_with("--user --no-ask-password reload -- nginx.service"), "{error}");
    assert!(unit("--host=evil.service", false).unwrap_err().contains("is no name of a service"));
    active("exit 0");
    unit("nginx.service", false).unwrap();
    active("sleep 600");
    assert!(unit("nginx.service", false).unwrap_err().contains("was killed"));
}

#[test]
fn a_unit_that_does_not_run_has_nothing_to_reload_and_is_no_fault() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let unit = Reload::Unit { unit: "nginx.service".into(), user_manager: false };
    for (load, state, told) in [
        ("loaded", "inactive", Ok(Told::NotRunning)),
        ("loaded", "failed", Ok(Told::NotRunning)),
        ("loaded", "activating", Err(())),
        ("not-found", "inactive", Err(())),
    ] {
        let answer = format!("printf 'ActiveState={state}\\nLoadState={load}\\n'; exit");
        let script = format!("#!/bin/sh\ncase \"$*\" in *LoadState*) {answer};; esac\nexit 1\n");
        write_script(&options.systemctl, &script);
        assert_eq!(reload(&unit, &options).map_err(drop), told, "{state}");
    }
}

/// A process that notes each SIGHUP, and its pidfile.
struct Service {
    process: Process,
    pidfile: PathBuf,
    noted: PathBuf,
    _directory: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (pidfile, noted) = (directory.path().join("pid"), directory.path().join("noted"));
        let script = "trap 'echo hup >> \"$0\"' HUP; : > \"$0\"; while :; do sleep 0.02; done";
        let process = Process::start("/bin/sh", &["-c", script, noted.to_str().unwrap()]);
        eventually("start", || noted.exists());
        fs::write(&pidfile, format!("{}\nmore\n", process.pid())).unwrap();
        Self { process, pidfile, noted, _directory: directory }
    }

    fn signal(&self, unit: Option<&str>, uid: Option<u32>) -> Result<(), String> {
        send(HUP, &self.pidfile, unit, uid)
    }

    fn await_note(&self) {
        eventually("signal", || fs::read_to_string(&self.noted).unwrap() == "hup\n");
    }

    fn check_not_noted(&self) {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(fs::read_to_string(&self.noted).unwrap(), "");
    }
}

fn send(signal: i32, pidfile: &Path, unit: Option<&str>, uid: Option<u32>) -> Result<(), String> {
    let pidfile = pidfile.to_str().unwrap().to_owned();
    run(Reload::Signal { signal, pidfile, unit: unit.map(Into::into), uid }, &options(Path::new("/nonexistent")))
}

fn own_uid() -> Option<u32> {
    Some(nix::unistd::geteuid().as_raw())
}

#[test]
fn a_process_is_signalled_if_it_has_the_uid_and_refused_if_it_has_not() {
    let service = Service::start();
    assert!(service.signal(None, Some(4_000_000)).unwrap_err().contains("not 4000000"));
    service.check_not_noted();
    service.signal(None, own_uid()).unwrap();
    service.await_note();
}

#[test]
fn a_rule_that_binds_the_process_to_nothing_is_refused() {
    let service = Service::start();
    assert!(service.signal(None, None).unwrap_err().contains("needs a unit or a uid"));
    service.check_not_noted();
}

#[test]
fn signals_that_force_a_process_are_refused() {
    let service = Service::start();
    for signal in [0, 2, 9, 15, 19, 64, -1] {
        assert!(send(signal, &service.pidfile, None, own_uid()).unwrap_err().contains("none by which a program reloads"));
    }
    service.check_not_noted();
}

#[test]
fn a_pidfile_that_others_could_have_written_is_refused() {
    let service = Service::start();
    fs::set_permissions(&service.pidfile, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(service.signal(None, own_uid()).unwrap_err().contains("can be written by everybody"));
    fs::set_permissions(&service.pidfile, fs::Permissions::from_mode(0o644)).unwrap();

    let link = service.pidfile.with_file_name("link");
    symlink(&service.pidfile, &link).unwrap();
    assert!(send(HUP, &link, None, own_uid()).is_err());
    let fifo = service.pidfile.with_file_name("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(send(HUP, &fifo, None, own_uid()).unwrap_err().contains("is not a file"));
    assert!(send(HUP, Path::new("relative"), None, own_uid()).unwrap_err().contains("absolute"));
    service.check_not_noted();
}

#[test]
fn a_pidfile_without_a_living_process_is_refused() {
    let mut service = Service::start();
    service.process.end();
    assert!(service.signal(None, own_uid()).unwrap_err().contains("is the service running?"));
    for text in ["", "0", "1", "-1", "abc", "99999999999999999999", "\n5"] {
        fs::write(&service.pidfile, text).unwrap();
        assert!(service.signal(None, own_uid()).unwrap_err().contains("is not the number of a process"), "{text:?}");
    }
}

/// By name, so that whoever is not root can leave them out: `cargo test -- --skip as_root`.
mod as_root {
    use super::*;

    #[test]
    fn a_process_is_signalled_if_it_is_in_the_unit_and_refused_if_it_is_not() {
        let unit = Cgroup::make("system.slice");
        let forged = Cgroup::make("user.slice/user-1000.slice/user@1000.service/app.slice");
        let service = Service::start();
        assert!(service.signal(Some(unit.unit()), None).unwrap_err().contains("is in no system unit, not in reverie-test"));
        forged.take(&service.process);
        assert!(service.signal(Some(forged.unit()), None).unwrap_err().contains("is in user@1000.service"));
        service.check_not_noted();
        unit.take(&service.process);
        service.signal(Some(unit.unit()), own_uid()).unwrap();
        service.await_note();
        drop(service);
    }

    #[test]
    fn a_pidfile_of_a_third_user_is_refused() {
        require_root();
        let service = Service::start();
        std::os::unix::fs::chown(&service.pidfile, Some(12345), None).unwrap();
        assert!(service.signal(None, own_uid()).unwrap_err().contains("belongs to uid 12345"));
        service.check_not_noted();
    }
}
