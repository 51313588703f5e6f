//! The file view: real readers, of several users, over a real FUSE mount. Needs root.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use reverie_tests::agent::Agent;
use reverie_tests::programs::{output, text, wait_until};
use serde_json::json;

/// Users without a name.
pub(super) const ALICE: &str = "46001";
pub(super) const BOB: &str = "46002";

pub(super) fn agent() -> Agent {
    let mut agent = Agent::new(&format!(
        "[view]\nenabled = true\n\
         [[identity]]\nname = \"alice\"\nmatch = {{ uid = {ALICE} }}\n\
         [[identity]]\nname = \"bob\"\nmatch = {{ uid = {BOB} }}\n\
         [[identity]]\nname = \"disk\"\nmatch = {{ supplementary_group = \"disk\" }}\n\
         [[secret]]\nname = \"db\"\nallow = [\"bob\"]\n"
    ));
    agent.start();
    let root = view(&agent, "");
    wait_until("the view is mounted", 20, || mounts(&agent) == 1 && root.join("certs").exists());
    agent
}

pub(super) fn view(agent: &Agent, path: &str) -> PathBuf {
    agent.run().join("view").join(path)
}

pub(super) fn shown(agent: &Agent, path: &str) -> String {
    view(agent, path).display().to_string()
}

/// How many views the kernel has at the place.
pub(super) fn mounts(agent: &Agent) -> usize {
    let point = format!(" {} ", view(agent, "").display().to_string().trim_end_matches('/'));
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(&point) && line.contains(" - fuse.reverie ")).count()
}

/// Runs a program as a user; its output, and whether it succeeded.
pub(super) fn as_user(user: &str, options: &[&str], words: &[&str]) -> (String, bool) {
    let ids = [format!("--reuid={user}"), format!("--regid={user}")];
    let groups = if options.is_empty() { vec!["--clear-groups"] } else { options.to_vec() };
    let all: Vec<&str> = ids.iter().map(String::as_str).chain(groups).chain(words.iter().copied()).collect();
    let done = output("setpriv", &all);
    (text(&done), done.status.success())
}

fn list(agent: &Agent, user: &str, path: &str) -> Vec<String> {
    let (said, well) = as_user(user, &[], &["ls", "-A", &shown(agent, path)]);
    assert!(well, "{said}");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn each_user_sees_its_own_and_nothing_of_others_as_root() {
    let agent = agent();
    agent.admin_put("/api/admin/secrets/db", &json!({ "value": data_encoding::BASE64.encode(b"for bob") })).ok();
    assert_eq!(list(&agent, ALICE, "certs"), ["alice", "self"]);
    assert_eq!(list(&agent, BOB, "certs"), ["bob", "self"]);
    assert_eq!(list(&agent, "46003", "certs"), Vec::<String>::new());
    assert_eq!(list(&agent, ALICE, "certs/self/"), list(&agent, ALICE, "certs/alice"));
    assert_eq!(list(&agent, ALICE, "secrets"), Vec::<String>::new());
    assert_eq!(list(&agent, BOB, "secrets"), ["db"]);
    assert_eq!(as_user(BOB, &[], &["cat", &shown(&agent, "secrets/db")]), ("for bob".to_owned(), true));

    // By its full name, right after its owner walked that path, it does not exist either.
    let key = shown(&agent, "certs/alice/tls.key");
    let (pem, well) = as_user(ALICE, &[], &["cat", &key]);
    assert!(well && pem.contains("PRIVATE KEY"), "{pem}");
    for other in [BOB, "46003", "0"] {
        let (said, well) = as_user(other, &[], &["cat", &key]);
        assert!(!well && said.contains("No such file or directory"), "{other}: {said}");
    }
    for path in ["certs/alice", "certs/nobody", "secrets/db", "certs/../../agent.toml/x"] {
        let (said, well) = as_user("46003", &[], &["stat", &shown(&agent, path)]);
        assert!(!well && (said.contains("No such file") || said.contains("Not a directory")), "{path}: {said}");
    }
    // Its owner is who reads, and nobody writes.
    let (said, _) = as_user(ALICE, &[], &["stat", "--format", "%a %u %F", &key]);
    assert_eq!(said.trim(), format!("400 {ALICE} regular file"));
    let (said, well) = as_user(ALICE, &[], &["sh", "-c", &format!("echo x > {key}")]);
    assert!(!well && said.contains("Read-only file system"), "{said}");

    let events = agent.ctl_json_lines(&["audit", "tail", "--lines", "100"]);
    let of = |kind: &str, uid: &str| {
        let uid: u64 = uid.parse().unwrap();
        let is = |event: &serde_json::Value| event["kind"] == kind && event["actor"]["uid"] == uid;
        events.iter().filter(|event| is(&event["event"])).count()
    };
    assert_eq!((of("certificate-read", ALICE), of("certificate-read", BOB), of("secret-read", BOB)), (1, 0, 1), "{events:?}");
}

#[test]
fn threads_and_further_groups_count_as_their_process_does_as_root() {
    let agent = agent();
    let disk = nix::unistd::Group::from_name("disk").unwrap().unwrap().gid;
    let groups = format!("--groups={disk}");
    let (said, well) = as_user(ALICE, &[&groups], &["ls", "-A", &shown(&agent, "certs")]);
    assert_eq!((said.lines().collect::<Vec<_>>(), well), (vec!["alice", "disk", "self"], true));
    let script = format!(
        "import threading\n\
         def read():\n    print(open('{}').read()[:27])\n\
         threads = [threading.Thread(target=read) for _ in range(8)]\n\
         [thread.start() for thread in threads]\n[thread.join() for thread in threads]\n",
        shown(&agent, "certs/self/tls.key")
    );
    let (said, well) = as_user(ALICE, &[], &["/usr/bin/python3", "-c", &script]);
    assert!(well && said.matches("-----BEGIN PRIVATE KEY-----").count() == 8, "{said}");
}

/// A process that reads a file each time it is told to.
pub(super) struct Reader(pub(super) Child, BufReader<ChildStdout>);

impl Reader {
    pub(super) fn new(user: &str) -> Self {
        Self::running(user, "import sys\nfor line in sys.stdin:\n    print(open(line.strip()).read(), end='\\0', flush=True)\n")
    }

    /// One that answers each line with text and a zero byte.
    pub(super) fn running(user: &str, script: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            script,
        ]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        Self(child, BufReader::new(output))
    }

    pub(super) fn read(&mut self, path: &str) -> String {
        writeln!(self.0.stdin.as_mut().unwrap(), "{path}").unwrap();
        let mut bytes = vec![];
        self.1.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "it ended");
        String::from_utf8(bytes).unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The public key of a certificate or a private key in PEM.
fn public_key(agent: &Agent, pem: &str) -> String {
    let file = agent.path().join("pem");
    std::fs::write(&file, pem).unwrap();
    let file = file.display().to_string();
    match pem.contains("PRIVATE KEY") {
        true => reverie_tests::programs::run("openssl", &["pkey", "-in", &file, "-pubout"]),
        false => reverie_tests::programs::run("openssl", &["x509", "-in", &file, "-noout", "-pubkey"]),
    }
}

pub(super) fn serial(agent: &Agent, pem: &str) -> String {
    let file = agent.path().join("pem");
    std::fs::write(&file, pem).unwrap();
    let said = reverie_tests::programs::run("openssl", &["x509", "-in", &file.display().to_string(), "-noout", "-serial"]);
    said.trim().trim_start_matches("serial=").to_lowercase()
}

#[test]
fn a_process_that_reads_a_pair_across_a_rotation_gets_one_generation_as_root() {
    let agent = agent();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| shown(&agent, &format!("certs/self/{name}")));
    let (mut old, mut new) = (Reader::new(ALICE), Reader::new(ALICE));
    let first = old.read(&certificate);
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "alice" })).ok();
    assert_eq!(public_key(&agent, &first), public_key(&agent, &old.read(&key)), "the key of what it has begun to read");
    let fresh = new.read(&certificate);
    assert_ne!(fresh, first, "who begins now begins with the new one");
    assert_eq!(public_key(&agent, &fresh), public_key(&agent, &new.read(&key)));
    wait_until("in a while it is the new one for all", 20, || old.read(&certificate) == fresh);
}

#[test]
fn what_was_revoked_meanwhile_is_not_read_to_its_end_as_root() {
    let agent = agent();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| shown(&agent, &format!("certs/self/{name}")));
    for rotated in [false, true] {
        let mut reader = Reader::new(ALICE);
        let first = reader.read(&certificate);
        let serial = serial(&agent, &first);
        if rotated {
            agent.admin_post("/api/admin/rotate", &json!({ "identity": "alice" })).ok();
        }
        agent.admin_post("/api/admin/revoke", &json!({ "serial": serial })).ok();
        let read = reader.read(&key);
        assert_ne!(public_key(&agent, &first), public_key(&agent, &read), "rotated before: {rotated}");
        assert_eq!(public_key(&agent, &reader.read(&certificate)), public_key(&agent, &read), "a whole pair, all the same");
    }
}

fn child(parent: i32, role: &str) -> Option<i32> {
    text(&output("pgrep", &["--parent", &parent.to_string(), "--full", &format!("role {role}")])).trim().parse().ok()
}

/// The process that mounts.
fn mounter(agent: &Agent) -> Option<i32> {
    child(agent.pid(), "view-mount")
}

/// The process that serves.
fn serving(agent: &Agent) -> Option<i32> {
    child(mounter(agent)?, "view")
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
}

/// Opens the file of the first line, and reads it from its beginning for each: its size, or which error.
const HOLDS: &str = "import errno, os, sys\n\
    held = None\n\
    for line in sys.stdin:\n\
    \x20   try:\n\
    \x20       if held is None: held = os.open(line.strip(), os.O_RDONLY)\n\
    \x20       said = len(os.pread(held, 1 << 20, 0))\n\
    \x20   except OSError as error: said = errno.errorcode[error.errno]\n\
    \x20   print(said, end='\\0', flush=True)\n";

/// What a reader says of a path, within 10 s.
fn says_soon(mut reader: Reader, path: String, meanwhile: impl FnOnce()) -> String {
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(reader.read(&path)));
    meanwhile();
    heard.recv_timeout(Duration::from_secs(10)).expect("it hangs")
}

const GONE: [&str; 2] = ["ENOTCONN", "ECONNABORTED"];

#[test]
fn a_view_that_is_killed_is_there_again_and_what_it_leaves_hangs_nobody_as_root() {
    let agent = agent();
    let (path, key) = (view(&agent, "certs"), shown(&agent, "certs/self/tls.key"));
    let mut holding = Reader::running(ALICE, HOLDS);
    assert!(holding.read(&key).parse::<usize>().unwrap() > 100);
    let before = serving(&agent).unwrap();
    kill(before);
    let said = says_soon(holding, key.clone(), || {});
    assert!(GONE.contains(&said.as_str()), "of an open file: {said}");
    wait_until("another serves", 20, || serving(&agent).is_some_and(|now| now != before) && path.is_dir());
    assert_eq!(mounts(&agent), 1, "the dead one is detached");
    assert_eq!(list(&agent, ALICE, "certs"), ["alice", "self"]);

    // One that waits for a view that has stopped is released when that is killed.
    let before = serving(&agent).unwrap();
    let stopped = nix::unistd::Pid::from_raw(before);
    nix::sys::signal::kill(stopped, Signal::SIGSTOP).unwrap();
    let mut waiting = Reader::running(BOB, HOLDS);
    assert_eq!(waiting.read("/nothing"), "ENOENT", "it has begun");
    let (pid, opens) = (waiting.0.id(), format!("{} ", nix::libc::SYS_openat));
    let said = says_soon(waiting, shown(&agent, "certs/bob/tls.key"), || {
        let waits = || std::fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| call.starts_with(&opens));
        wait_until("it waits for the view", 10, waits);
        kill(before);
    });
    assert!(GONE.contains(&said.as_str()), "of one that waited: {said}");
    wait_until("another serves", 20, || serving(&agent).is_some_and(|now| now != before) && path.is_dir());
}

#[test]
fn a_view_that_is_unmounted_under_an_open_file_is_there_again_and_told_of_as_root() {
    let mut agent = agent();
    let key = shown(&agent, "certs/self/tls.key");
    let mut holding = Reader::running(ALICE, HOLDS);
    holding.read(&key);
    reverie_tests::programs::run("umount", &["--lazy", &shown(&agent, "")]);
    assert_eq!(mounts(&agent), 0);
    let reads = || as_user(ALICE, &[], &["cat", &key]);
    wait_until("it is read again at the same place", 30, || reads().0.contains("PRIVATE KEY"));
    assert_eq!(mounts(&agent), 1);
    assert!(agent.log().contains("somebody unmounted it"), "{}", agent.log());
    let said = says_soon(holding, key, || {});
    assert!(GONE.contains(&said.as_str()), "of the old one: {said}");
    agent.stop();
    wait_until("no mount is left behind", 10, || mounts(&agent) == 0);
}

#[test]
fn an_agent_that_ends_in_whatever_way_leaves_no_mount_behind_as_root() {
    let mut agent = agent();
    let mut reader = Reader::new(ALICE);
    assert!(reader.read(&shown(&agent, "certs/self/tls.crt")).contains("CERTIFICATE"));
    agent.stop();
    wait_until("the mount is gone with the agent", 10, || mounts(&agent) == 0);
    agent.start();
    wait_until("the view is back", 20, || view(&agent, "certs").is_dir());
    agent.kill();
    wait_until("also if the agent was killed", 10, || mounts(&agent) == 0);
    // And where nothing was left to do it, the next start does.
    agent.start();
    wait_until("the view is back", 20, || view(&agent, "certs").is_dir());
    let (mounter, serving) = (mounter(&agent).unwrap(), serving(&agent).unwrap());
    kill(mounter);
    kill(serving);
    agent.kill();
    assert_eq!(mounts(&agent), 1, "a dead one is left");
    agent.start();
    wait_until("one view, and it answers", 20, || mounts(&agent) == 1 && view(&agent, "certs").is_dir());
    assert_eq!(list(&agent, BOB, "certs"), ["bob", "self"]);
}
