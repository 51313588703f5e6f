//! Clients that make new mutual-TLS connections, and a reader of key pairs.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use reverie_tests::agent::Agent;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore};
use serde_json::{Value, json};

use super::service::Service;

/// A client with an identity of its own.
#[derive(Clone)]
pub(super) struct Client(Arc<ClientConfig>);

impl Client {
    pub(super) fn new(agent: &Agent) -> Self {
        let own = agent.post("/v1/identities/client/certificates", &json!({})).ok();
        let key = PrivateKeyDer::from_pem_slice(own["private_key"].as_str().expect("a key").as_bytes()).expect("a key");
        Self::with(verifier(&own).with_client_auth_cert(certificates(&own["certificate"]), key).expect("a client certificate"))
    }

    /// One that trusts the same roots and shows no certificate.
    pub(super) fn anonymous(agent: &Agent) -> Self {
        let own = agent.post("/v1/identities/client/certificates", &json!({})).ok();
        Self::with(verifier(&own).with_no_client_auth())
    }

    fn with(mut config: ClientConfig) -> Self {
        // Every connection is a full handshake: that is what is under test.
        config.resumption = rustls::client::Resumption::disabled();
        Self(Arc::new(config))
    }

    /// One new connection, both sides verified, and one answer over it; the serial that was served, hex.
    pub(super) fn connect(&self, port: u16, service: Service) -> Result<String, String> {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("connect: {error}"))?;
        let patience = Some(Duration::from_secs(10));
        tcp.set_read_timeout(patience).and_then(|()| tcp.set_write_timeout(patience)).map_err(|error| error.to_string())?;
        service.greet(&mut tcp)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(|error| format!("handshake: {error}"))?;
        }
        service.converse(&mut rustls::Stream::new(&mut tls, &mut tcp))?;
        let leaf = tls.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
        Ok(serial(leaf))
    }
}

fn certificates(pem: &Value) -> Vec<CertificateDer<'static>> {
    let pem = pem.as_str().expect("PEM").as_bytes();
    CertificateDer::pem_slice_iter(pem).map(|der| der.expect("a certificate")).collect()
}

/// Verifies servers by the bundle of the answer.
fn verifier(own: &Value) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    certificates(&own["bundle"]).into_iter().for_each(|root| roots.add(root).expect("a root"));
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
}

fn serial(der: &[u8]) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).expect("a certificate");
    data_encoding::HEXLOWER.encode(certificate.raw_serial())
}

/// What the load saw.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) handshakes: usize,
    pub(super) pairs: usize,
    pub(super) serials: BTreeSet<String>,
    pub(super) failures: Vec<String>,
}

/// Threads that connect, and one that reads pairs, until told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcome>>,
}

impl Load {
    pub(super) fn start(client: &Client, port: u16, service: Service, directory: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads: Vec<JoinHandle<Outcome>> = (0..3)
            .map(|_| {
                let (client, stop) = (client.clone(), Arc::clone(&stop));
                std::thread::spawn(move || connect_until(&client, port, service, &stop))
            })
            .collect();
        let (directory, flag) = (directory.to_owned(), Arc::clone(&stop));
        threads.push(std::thread::spawn(move || read_until(&directory, &flag)));
        Self { stop, threads }
    }

    pub(super) fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client")).fold(Outcome::default(), |mut all, one| {
            all.handshakes += one.handshakes;
            all.pairs += one.pairs;
            all.serials.extend(one.serials);
            all.failures.extend(one.failures);
            all
        })
    }
}

fn connect_until(client: &Client, port: u16, service: Service, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.load(Ordering::Relaxed) {
        match client.connect(port, service) {
            Ok(serial) => {
                outcome.handshakes += 1;
                outcome.serials.insert(serial);
            }
            Err(why) => outcome.failures.push(why),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    outcome
}

/// Reads certificate and key through one directory handle: they must always belong together.
fn read_until(directory: &Path, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.load(Ordering::Relaxed) {
        match read_pair(directory) {
            Ok(true) => outcome.pairs += 1,
            Ok(false) => outcome.failures.push("a torn pair".to_owned()),
            Err(error) => outcome.failures.push(format!("reading a pair: {error}")),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    outcome
}

fn read_pair(directory: &Path) -> std::io::Result<bool> {
    let handle = nix::fcntl::open(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    let read = |name: &str| -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![];
        std::fs::File::from(openat(handle.as_fd(), &PathBuf::from(name), OFlag::O_RDONLY, Mode::empty())?)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let (certificate, key) = (read("tls.crt")?, read("tls.key")?);
    let block = pem::parse(&certificate).map_err(std::io::Error::other)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(block.contents()).map_err(std::io::Error::other)?;
    let key = rcgen::KeyPair::from_pem(&String::from_utf8_lossy(&key)).map_err(std::io::Error::other)?;
    Ok(certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}
