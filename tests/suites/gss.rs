//! The role that speaks Kerberos, against a real KDC.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reverie_core::ipc::gss::{Reply, Request};
use reverie_core::ipc::{Hello, MAX_MESSAGE, Numbered, decode, encode};
use reverie_sys::seqpacket::{self, Receiver};
use reverie_tests::kdc::{Kdc, REALM};
use reverie_tests::programs::built;

/// A process of the role, and the keeper's end of its channel.
struct Gss {
    process: Child,
    channel: OwnedFd,
    receiver: Receiver,
}

impl Gss {
    fn start(kdc: &Kdc, state: &Path) -> Self {
        let (channel, theirs) = seqpacket::pair().unwrap();
        let mut command = Command::new(built("reverie-agent"));
        command.args(["--role", "gss"]).env("KRB5_CONFIG", kdc.config()).env("STATE_DIRECTORY", state);
        let process = command.stdin(Stdio::from(theirs)).spawn().unwrap();
        seqpacket::send(&channel, &encode(&Hello::from_role("keeper")).unwrap(), &[]).unwrap();
        let mut receiver = Receiver::new(MAX_MESSAGE);
        let hello: Hello = decode(&receiver.recv(&channel).unwrap().unwrap().bytes).unwrap();
        hello.expect_role("gss").unwrap();
        Self { process, channel, receiver }
    }

    fn ask(&mut self, body: &Request) -> Reply {
        seqpacket::send(&self.channel, &encode(&Numbered { id: 7, body }).unwrap(), &[]).unwrap();
        let message = self.receiver.recv(&self.channel).and_then(|message| message.ok_or(io::ErrorKind::BrokenPipe.into()));
        decode::<Numbered<Reply>>(&message.unwrap().bytes).unwrap().body
    }
}

impl Drop for Gss {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two hosts, each with its HTTP service, and the file of each side's replay cache.
struct Realm {
    kdc: Kdc,
    state: tempfile::TempDir,
    keytabs: [String; 2],
}

const BINDING: &[u8] = b"tls-server-end-point:0123456789abcdef0123456789abcdef";

impl Realm {
    fn start() -> Self {
        let kdc = Kdc::start();
        let keytabs = ["HTTP/one.mesh.test", "HTTP/two.mesh.test"].map(|name| kdc.service(name).display().to_string());
        Self { kdc, state: tempfile::tempdir().unwrap(), keytabs }
    }

    fn gss(&self) -> Gss {
        Gss::start(&self.kdc, self.state.path())
    }

    /// The first token of the second host to the first, and who goes on with it.
    fn begin(&self, binding: &[u8]) -> (Gss, Vec<u8>) {
        let mut initiator = self.gss();
        let request = Request::Initiate {
            keytab: self.keytabs[1].clone(),
            principal: "HTTP/two.mesh.test".to_owned(),
            target: "HTTP@one.mesh.test".to_owned(),
            channel_binding: binding.to_vec(),
        };
        match initiator.ask(&request) {
            Reply::Token(token) => (initiator, token),
            other => panic!("no token: {other:?}"),
        }
    }

    fn accept(&self, token: &[u8], binding: &[u8]) -> Reply {
        self.gss().ask(&Request::Accept {
            keytab: self.keytabs[0].clone(),
            service: None,
            token: token.to_vec(),
            channel_binding: binding.to_vec(),
        })
    }
}

#[test]
fn two_hosts_prove_to_each_other_who_they_are() {
    let realm = Realm::start();
    let (mut initiator, token) = realm.begin(BINDING);
    let Reply::Accepted { principal, token: Some(answer), .. } = realm.accept(&token, BINDING) else { panic!("not accepted") };
    assert_eq!(principal, format!("HTTP/two.mesh.test@{REALM}"));
    assert_eq!(initiator.ask(&Request::Finish { token: answer }), Reply::Proven);
}

#[test]
fn a_token_taken_to_another_tls_connection_is_refused() {
    let realm = Realm::start();
    let (_initiator, token) = realm.begin(b"tls-server-end-point:of a man in the middle");
    let Reply::Refused { message } = realm.accept(&token, BINDING) else { panic!("accepted") };
    assert!(message.contains("bound to another TLS connection"), "{message}");
}

#[test]
fn a_token_without_a_channel_binding_is_refused() {
    let realm = Realm::start();
    let script = format!(
        "import gssapi,sys\nstore={{b'client_keytab': b'{}', b'ccache': b'MEMORY:x'}}\n\
         cred=gssapi.Credentials(usage='initiate', store=store)\n\
         name=gssapi.Name('HTTP@one.mesh.test', gssapi.NameType.hostbased_service)\n\
         sys.stdout.buffer.write(gssapi.SecurityContext(name=name, creds=cred, usage='initiate').step())",
        realm.keytabs[1]
    );
    let python = Command::new("/usr/bin/python3").args(["-c", &script]).env("KRB5_CONFIG", realm.kdc.config()).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let Reply::Refused { message } = realm.accept(&python.stdout, BINDING) else { panic!("accepted") };
    assert!(message.contains("not bound to this TLS connection"), "{message}");
}

#[test]
fn a_replayed_token_is_refused_though_another_process_saw_it_first() {
    let realm = Realm::start();
    let (_initiator, token) = realm.begin(BINDING);
    assert!(matches!(realm.accept(&token, BINDING), Reply::Accepted { .. }));
    let Reply::Refused { message } = realm.accept(&token, BINDING) else { panic!("accepted twice") };
    assert!(message.to_lowercase().contains("replay"), "{message}");
}

#[test]
fn an_answer_by_somebody_else_proves_nothing() {
    let realm = Realm::start();
    let (mut initiator, token) = realm.begin(BINDING);
    let (_other, another) = realm.begin(BINDING);
    let Reply::Accepted { token: Some(answer), .. } = realm.accept(&another, BINDING) else { panic!("not accepted") };
    drop(token);
    assert!(matches!(initiator.ask(&Request::Finish { token: answer }), Reply::Refused { .. }));
}

#[test]
fn a_missing_keytab_and_garbage_are_told_apart() {
    let realm = Realm::start();
    let reply = realm.gss().ask(&Request::Accept {
        keytab: "/nonexistent/keytab".to_owned(),
        service: None,
        token: vec![1, 2, 3],
        channel_binding: BINDING.to_vec(),
    });
    let Reply::Unavailable { message } = reply else { panic!("{reply:?}") };
    assert!(message.contains("/nonexistent/keytab") && message.contains("may the user"), "{message}");
    assert!(matches!(realm.accept(b"garbage", BINDING), Reply::Refused { .. }));
    assert!(matches!(realm.accept(&vec![0x60; 200_000], BINDING), Reply::Refused { .. }));
}

#[test]
fn a_kdc_that_is_away_is_said_so() {
    let mut realm = Realm::start();
    let config = std::fs::read_to_string(realm.kdc.config()).unwrap();
    let elsewhere = realm.state.path().join("krb5.conf");
    std::fs::write(&elsewhere, config.replace("kdc = 127.0.0.1:", "kdc = 127.0.0.1:1")).unwrap();
    realm.keytabs[1] = realm.kdc.service("HTTP/three.mesh.test").display().to_string();
    std::fs::copy(&elsewhere, realm.kdc.config()).unwrap();
    let reply = realm.gss().ask(&Request::Initiate {
        keytab: realm.keytabs[1].clone(),
        principal: "HTTP/three.mesh.test".to_owned(),
        target: "HTTP@one.mesh.test".to_owned(),
        channel_binding: BINDING.to_vec(),
    });
    let Reply::Unavailable { message } = reply else { panic!("{reply:?}") };
    assert!(message.contains("three.mesh.test"), "{message}");
}
