//! What a hostile or broken other trust domain, and an operator in haste, can do.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData};
use reverie_core::config::{Source, parse};
use reverie_core::ipc::net::Reply;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::plan::settle;
use super::*;
use crate::keeper::mesh::tests::Agent;
use crate::keeper::{Keeper, clock};
use crate::ops::host::Scope;
use crate::ops::policy::Policy;

const FILE_ALARM: &str = "federation other.org bundle_file";

struct Host {
    agent: Agent,
    place: TempDir,
}

impl Host {
    /// With `other.org` declared; where `by_file`, with a file of that name to begin with.
    async fn new(by_file: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let agent = Agent::configured(place.path(), "a", &declared(place.path(), by_file)).await;
        settle(&agent);
        Self { agent, place }
    }

    fn file(&self) -> std::path::PathBuf {
        self.place.path().join("other.json")
    }

    fn give(&self, document: impl AsRef<[u8]>) {
        std::fs::write(self.file(), document).unwrap();
    }

    async fn fetch(&self, document: &str) -> Reply {
        fetched(&self.agent, &other(), Ok(document.as_bytes().to_vec())).await
    }

    fn believed(&self) -> Option<Arc<ForeignBundle>> {
        self.agent.federations.bundles().get(&other()).cloned()
    }

    /// What the first root is, among documents of one.
    fn root(&self) -> Option<Vec<u8>> {
        self.believed().and_then(|bundle| bundle.roots.first().cloned())
    }

    fn alarm(&self, subject: &str) -> Option<String> {
        self.agent.alarms.all().into_iter().find(|alarm| alarm.subject == subject).map(|alarm| alarm.message)
    }
}

fn declared(place: &Path, by_file: bool) -> String {
    let file = if by_file { format!("bundle_file = {:?}\n", place.join("other.json")) } else { String::new() };
    format!(
        "[[federation]]\ntrust_domain = \"other.org\"\nurl = \"https://o/b\"\nprofile = \"https_web\"\nca_file = \"/dev/null\"\n{file}"
    )
}

fn withdraw(keeper: &Keeper) {
    let text = "trust_domain = \"example.org\"\nnode_id = \"a.example.org\"\n";
    let config = parse(Source { file: "t", text }, &[]).unwrap();
    keeper.policy.send_replace(Arc::new(Policy::new(config, Scope::User)));
}

fn other() -> TrustDomain {
    "other.org".parse().unwrap()
}

fn certificate(is_ca: bool) -> Vec<u8> {
    let mut params = CertificateParams::default();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn document(roots: &[&[u8]]) -> String {
    let root = |der: &&[u8]| json!({ "use": "x509-svid", "kty": "EC", "x5c": [data_encoding::BASE64.encode(der)] });
    json!({ "keys": roots.iter().map(root).collect::<Vec<_>>() }).to_string()
}

/// A point with one bit turned is on no curve.
fn with_a_key_off_the_curve(certificate: &[u8]) -> Vec<u8> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, read) = X509Certificate::from_der(certificate).unwrap();
    let point = read.public_key().subject_public_key.data.to_vec();
    let at = certificate.windows(point.len()).position(|window| window == point).unwrap();
    let mut turned = certificate.to_vec();
    turned[at + point.len() - 1] ^= 1;
    turned
}

#[tokio::test]
async fn a_root_with_anything_but_a_whole_authority_in_it_is_believed_from_nowhere() {
    let (good, host) = (certificate(true), Host::new(true).await);
    host.fetch(&document(&[&good])).await;
    assert_eq!(host.root(), Some(good.clone()));
    let odd = [
        [good.as_slice(), &[0]].concat(),
        [good.as_slice(), &good].concat(),
        good[..good.len() - 1].to_vec(),
        certificate(false),
        with_a_key_off_the_curve(&good),
    ];
    for (number, odd) in odd.iter().enumerate() {
        let hostile = document(&[&good, odd]);
        host.fetch(&hostile).await;
        assert_eq!(host.believed().unwrap().roots, std::slice::from_ref(&good), "fetched: {number}");
        assert!(host.alarm("federation other.org").unwrap().contains("the one before stands"), "{number}");

        let by_file = Host::new(true).await;
        by_file.give(&hostile);
        settle(&by_file.agent);
        assert_eq!(by_file.believed(), None, "given: {number}");
        assert!(by_file.alarm(FILE_ALARM).unwrap().contains("a root of it"), "{number}");

        let stored = Stored { document: hostile.into_bytes(), fetched_at: clock::now(), seed: None };
        let restarted = Host::new(false).await;
        restarted.agent.federations.stored.lock().unwrap().insert(other(), stored);
        settle(&restarted.agent);
        assert_eq!(restarted.believed(), None, "stored: {number}");
        assert!(restarted.alarm("federation other.org").unwrap().contains("stored"), "{number}");
    }
}

fn token_key(name: &str, more: Value) -> Value {
    let key = KeyPair::generate().unwrap();
    let (x, y) = key.der_bytes()[1..].split_at(32);
    let text = |half: &[u8]| data_encoding::BASE64URL_NOPAD.encode(half);
    let mut jwk = json!({ "use": "jwt-svid", "kid": name, "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) });
    jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    jwk
}

#[tokio::test]
async fn keys_for_tokens_that_nobody_can_read_are_left_out_with_all_that_is_no_key() {
    let host = Host::new(false).await;
    let good = token_key("good", json!({ "alg": "ES256" }));
    let mut decorated = good.clone();
    decorated["x5c"] = json!(["no certificate"]);
    decorated["key_ops"] = json!(["verify"]);
    let mut off = token_key("off", json!({}));
    off["y"] = off["x"].clone();
    // The same bytes, cut elsewhere.
    let whole = data_encoding::BASE64URL_NOPAD.decode(good["x"].as_str().unwrap().as_bytes()).unwrap();
    let mut short = token_key("short", json!({}));
    short["x"] = json!(data_encoding::BASE64URL_NOPAD.encode(&whole[..31]));
    let mut bare = token_key("bare", json!({}));
    bare.as_object_mut().unwrap().remove("y");
    let odd = [
        off,
        short,
        bare,
        token_key("curve", json!({ "crv": "P-384" })),
        token_key("algorithm", json!({ "alg": "RS256" })),
        token_key("kind", json!({ "kty": "new" })),
        json!({ "use": "wit-svid", "kid": "small", "kty": "RSA", "n": "AQAB", "e": "AQAB" }),
        json!({ "use": "jwt-svid", "kid": "edwards", "kty": "OKP", "crv": "Ed25519", "x": good["x"] }),
    ];
    let only_odd = json!({ "keys": odd }).to_string();
    host.fetch(&only_odd).await;
    assert_eq!(host.believed(), None);
    let keys: Vec<Value> = odd.into_iter().chain([decorated]).collect();
    host.fetch(&json!({ "keys": keys }).to_string()).await;
    let bundle = host.believed().unwrap();
    assert_eq!((bundle.jwt_keys.as_slice(), bundle.wit_keys.len()), (&[good][..], 0));
}

#[tokio::test]
async fn a_bundle_file_with_a_mistake_in_it_is_told_for_as_long_as_it_has_it_and_looked_at_again() {
    let (stolen, fresh) = (certificate(true), certificate(true));
    let host = Host::new(true).await;
    host.give(document(&[&certificate(true)]));
    settle(&host.agent);
    host.fetch(&document(&[&stolen])).await;
    host.give("{ \"keys\": [,] }");
    assert!(settle(&host.agent).look_again);
    let said = host.alarm(FILE_ALARM).unwrap();
    assert!(said.contains("what was fetched before is still believed") && said.contains("[[federation]]"), "{said}");
    host.fetch(&document(&[&stolen])).await;
    assert_eq!((host.root(), host.alarm(FILE_ALARM)), (Some(stolen), Some(said)), "a fetch mends no file");
    host.give(document(&[&fresh]));
    assert!(!settle(&host.agent).look_again);
    assert_eq!((host.root(), host.alarm(FILE_ALARM)), (Some(fresh), None));
}

#[tokio::test]
async fn a_bundle_file_that_cannot_be_read_for_a_moment_takes_nothing_fetched_back() {
    let (given, first, second) = (document(&[&certificate(true)]), certificate(true), certificate(true));
    let host = Host::new(true).await;
    host.give(&given);
    settle(&host.agent);
    host.fetch(&document(&[&first])).await;
    std::fs::remove_file(host.file()).unwrap();
    settle(&host.agent);
    host.fetch(&document(&[&second])).await;
    host.give(&given);
    settle(&host.agent);
    assert_eq!(host.root(), Some(second.clone()));
    // Nor does a start without it.
    std::fs::remove_file(host.file()).unwrap();
    host.agent.federations.seeds.lock().unwrap().clear();
    settle(&host.agent);
    host.fetch(&document(&[&first])).await;
    host.give(&given);
    settle(&host.agent);
    assert_eq!(host.root(), Some(first));
}

#[tokio::test]
async fn a_bundle_that_waited_while_its_trust_domain_was_withdrawn_is_not_taken() {
    let host = Host::new(false).await;
    let turn = host.agent.federations.turn.lock().await;
    let hostile = document(&[&certificate(true)]);
    let waiting = host.fetch(&hostile);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), &mut waiting).await.is_err());
    withdraw(&host.agent);
    settle(&host.agent);
    drop(turn);
    assert!(matches!(waiting.await, Reply::Refused { status: 404, .. }));
    assert_eq!(host.believed(), None);
}
