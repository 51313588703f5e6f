use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_core::ipc::prober::{Preamble, Reply, Request};
use reverie_sys::seqpacket;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use super::serve;
use crate::ops::channel::Channel;

fn request(address: &str) -> Request {
    Request { address: address.into(), preamble: Preamble::None, server_name: None, timeout_ms: 10_000 }
}

fn ask(request: Request) -> Reply {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let prober = std::thread::spawn(move || serve(theirs));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply = runtime.block_on(async {
        let channel = Channel::<Request, Reply>::connect(ours, "prober").await.unwrap();
        channel.call(&request, None, Duration::from_secs(30)).await.unwrap()
    });
    prober.join().unwrap().unwrap();
    reply
}

fn ask_and_fail(request: Request) -> String {
    match ask(request) {
        Reply::Failed { message } => message,
        Reply::Served { .. } => panic!("a certificate was seen"),
    }
}

/// `openssl s_server` with a certificate of its own, on a port of its own.
struct Server {
    child: Child,
    port: u16,
    leaf: Vec<u8>,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["probed.test".into()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(directory.path().join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(directory.path().join("tls.crt"), certificate.pem()).unwrap();
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "tls.crt", "-key", "tls.key"])
            .args(arguments)
            .current_dir(directory.path())
            // s_server ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need the openssl program");
        // "ACCEPT 127.0.0.1:PORT"
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("openssl s_server did not start").unwrap();
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.rsplit(':').next().unwrap().parse().unwrap();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port, leaf: certificate.der().to_vec(), _directory: directory }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Shows the certificate of another: it has no such key.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn a_certificate_shown_by_one_who_has_not_its_key_is_not_seen_served() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (theirs, own) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let leaf = rcgen::CertificateParams::new(vec!["probed.test".into()]).unwrap().self_signed(&theirs).unwrap();
    let key = provider.key_provider.load_private_key(own.serialize_der().try_into().unwrap()).unwrap();
    let impostor = Impostor(Arc::new(CertifiedKey::new(vec![leaf.der().clone()], key)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = ServerConfig::builder_with_provider(Arc::new(provider.clone())).with_protocol_versions(&[version]).unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(Impostor(Arc::clone(&impostor.0))));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
            // The client ends it.
            let _ = connection.complete_io(&mut stream);
        });
        let message = ask_and_fail(request(&address));
        assert!(message.contains("BadSignature"), "{message}");
        server.join().unwrap();
    }
}

#[test]
fn the_certificate_of_a_server_is_told() {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Server::start(&[version]);
        assert_eq!(ask(request(&server.address())), Reply::Served { leaf: server.leaf.clone() }, "{version}");
    }
}

#[test]
fn a_server_that_insists_on_a_client_certificate_still_shows_its_own() {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Server::start(&[version, "-Verify", "1", "-verify_return_error", "-CAfile", "tls.crt"]);
        assert_eq!(ask(request(&server.address())), Reply::Served { leaf: server.leaf.clone() }, "{version}");
    }
}

#[test]
fn the_asked_name_decides_which_certificate_is_shown() {
    let other = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["other.test".into()]).unwrap().self_signed(&other).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (crt, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    std::fs::write(&crt, certificate.pem()).unwrap();
    std::fs::write(&key, other.serialize_pem()).unwrap();
    let (crt, key) = (crt.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start(&["-servername", "other.test", "-cert2", crt, "-key2", key]);
    let named = Request { server_name: Some("other.test".into()), ..request(&server.address()) };
    assert_eq!(ask(named), Reply::Served { leaf: certificate.der().to_vec() });
    assert_eq!(ask(request(&server.address())), Reply::Served { leaf: server.leaf.clone() });
}

/// Answers `SSLRequest` with `answer`, then passes everything on to `to`.
fn postgres(answer: &'static [u8], to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        client.write_all(answer).unwrap();
        let Ok(server) = TcpStream::connect(to) else { return };
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let _ = std::io::copy(&mut { server }, &mut client);
    });
    address
}

#[test]
fn postgresql_is_asked_for_tls_first() {
    let server = Server::start(&[]);
    let asked = |answer| Request { preamble: Preamble::Postgres, ..request(&postgres(answer, server.address())) };
    assert_eq!(ask(asked(b"S")), Reply::Served { leaf: server.leaf.clone() });
    assert!(ask_and_fail(asked(b"N")).contains("declined TLS"));
    assert!(ask_and_fail(asked(b"E")).contains("as PostgreSQL does"));
}

#[test]
fn a_silent_server_is_left_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = Instant::now();
    for preamble in [Preamble::None, Preamble::Postgres] {
        let address = listener.local_addr().unwrap().to_string();
        let message = ask_and_fail(Request { timeout_ms: 300, preamble, ..request(&address) });
        assert!(message.contains("in time"), "{message}");
    }
    assert!(before.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_server_that_drips_bytes_does_not_outlast_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // The header of a record that never becomes whole.
        let mut next = [0x16, 3, 3, 0x3f, 0xff].iter().copied().chain(std::iter::repeat(0));
        while client.write_all(&[next.next().unwrap()]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let before = Instant::now();
    let message = ask_and_fail(Request { timeout_ms: 500, ..request(&address) });
    assert!(message.contains("in time"), "{message}");
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_is_not_tls_or_not_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"SSH-2.0-OpenSSH\r\n"));
    assert!(ask_and_fail(request(&address)).contains("no certificate was seen"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert!(ask_and_fail(request(&free)).contains("refused"));
    let nameless = Request { server_name: Some("no such name!".into()), ..request(&free) };
    assert!(ask_and_fail(nameless).contains("no certificate was seen"));
}
