//! The Workload API: the crate `spiffe` and PyPI's `spiffe` against a real agent.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use reverie_tests::agent::Agent;
use reverie_tests::programs::{free_port, output, python, text, wait_until};
use serde_json::json;
use spiffe::{BundleSource, TrustDomain, WorkloadApiClient, WorkloadApiError, X509Context, X509Source};
use tokio_stream::{Stream, StreamExt};

const ALICE: &str = "46001";

/// Two identities for the user who runs the test, one for another.
fn agent() -> Agent {
    let mut agent = Agent::new(&format!(
        "[[identity]]\nname = \"inside\"\nhint = \"internal\"\ndns = [\"localhost\"]\nmatch = {{ uid = {uid} }}\n\
         [[identity]]\nname = \"outside\"\nhint = \"external\"\nmatch = {{ uid = {uid} }}\n\
         [[identity]]\nname = \"alice\"\nmatch = {{ uid = {ALICE} }}\n",
        uid = geteuid()
    ));
    agent.start();
    agent
}

fn endpoint(agent: &Agent) -> String {
    format!("unix://{}", agent.run().join("workload.sock").display())
}

fn serial(svid: &spiffe::X509Svid) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(svid.leaf().as_bytes()).unwrap();
    data_encoding::HEXLOWER.encode(certificate.raw_serial())
}

fn serials(context: &X509Context) -> Vec<String> {
    context.svids().iter().map(|svid| serial(svid)).collect()
}

async fn next<T>(stream: &mut (impl Stream<Item = Result<T, WorkloadApiError>> + Unpin)) -> Result<T, WorkloadApiError> {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("within 20 s").expect("the stream goes on")
}

/// How many keys were handed out by this API, as the audit log says.
fn handed(agent: &Agent) -> usize {
    let events = agent.ctl_json_lines(&["audit", "tail", "--lines", "1000"]);
    events.iter().filter(|event| event["event"]["reason"] == "by the Workload API").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crate_follows_two_hinted_identities_across_rotation_and_revocation() {
    let mut agent = agent();
    let client = WorkloadApiClient::connect_to(endpoint(&agent)).await.unwrap();
    let svids = client.fetch_all_x509_svids().await.unwrap();
    let shown: Vec<_> = svids.iter().map(|svid| (svid.spiffe_id().to_string(), svid.hint().unwrap_or_default())).collect();
    // In the order of the configuration: the default first.
    let (inside, outside) = ("spiffe://example.org/svc/inside".to_owned(), "spiffe://example.org/svc/outside".to_owned());
    assert_eq!(shown, [(inside, "internal"), (outside, "external")]);
    assert_eq!(svids[0].cert_chain().len(), 2);
    assert_eq!(handed(&agent), 2);

    let mut contexts = client.stream_x509_contexts().await.unwrap();
    let first = next(&mut contexts).await.unwrap();
    let domain = TrustDomain::new("example.org").unwrap();
    assert_eq!(first.bundle_set().get(&domain).unwrap().authorities().len(), 1);
    assert_eq!(handed(&agent), 4);

    agent.admin_post("/api/admin/rotate", &json!({ "identity": "outside" })).ok();
    let second = next(&mut contexts).await.unwrap();
    let (before, after) = (serials(&first), serials(&second));
    assert!(before[0] == after[0] && before[1] != after[1], "{before:?} {after:?}");
    assert_eq!(handed(&agent), 5, "only the key that is new");

    // One of another user's is nothing to this stream.
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "alice" })).ok();
    agent.admin_post("/api/admin/revoke", &json!({ "identity": "inside" })).ok();
    // The list, and then the replacement, or both at once: a revoked one never comes.
    let third = loop {
        let context = next(&mut contexts).await.unwrap();
        if serials(&context)[0] != after[0] {
            break context;
        }
    };
    assert_eq!(serials(&third)[1], after[1]);
    assert_eq!(handed(&agent), 6);
    let metrics = agent.admin_get("/metrics").text();
    assert!(metrics.contains("reverie_streams_open{call=\"FetchX509SVID\"} 1"), "{metrics}");

    // Trust alone: a new root.
    let mut bundles = client.stream_x509_bundles().await.unwrap();
    assert_eq!(next(&mut bundles).await.unwrap().get(&domain).unwrap().authorities().len(), 1);
    agent.admin_post("/api/admin/ca/rotate", &json!({ "issuer": "root" })).ok();
    while next(&mut bundles).await.unwrap().get(&domain).unwrap().authorities().len() != 2 {}

    // Who may have nothing any more is told so, and the stream ends.
    agent.configure("[[identity]]\nname = \"inside\"\nmatch = { uid = 46009 }\n");
    agent.reload();
    let refused = loop {
        if let Err(error) = next(&mut contexts).await {
            break error;
        }
    };
    assert!(matches!(refused, WorkloadApiError::NoIdentityIssued), "{refused}");
    agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crate_has_tokens_signed_verified_and_refused() {
    let agent = agent();
    let client = WorkloadApiClient::connect_to(endpoint(&agent)).await.unwrap();
    let all = client.fetch_all_jwt_svids(["db", "cache"], None).await.unwrap();
    let shown: Vec<_> = all.iter().map(|svid| (svid.spiffe_id().path().to_owned(), svid.hint().unwrap_or_default())).collect();
    assert_eq!(shown, [("/svc/inside".into(), "internal"), ("/svc/outside".into(), "external")]);

    let token = all[0].token().to_owned();
    let validated = client.validate_jwt_token("db", &token).await.unwrap();
    assert_eq!(validated.spiffe_id().to_string(), "spiffe://example.org/svc/inside");
    // By the library itself, with the bundle that it was given.
    let bundles = client.fetch_jwt_bundles().await.unwrap();
    let domain = TrustDomain::new("example.org").unwrap();
    assert!(bundles.bundle_for_trust_domain(&domain).unwrap().is_some());
    spiffe::JwtSvid::parse_and_validate(&token, &bundles, &["cache"]).unwrap();

    let forged = format!("{}A{}", &token[..token.len() - 10], &token[token.len() - 9..]);
    for (audience, token) in [("other", &*token), ("db", &*forged), ("", &*token), ("db", "nothing")] {
        let refused = client.validate_jwt_token(audience, token).await.unwrap_err();
        assert!(refused.is_invalid_argument(), "{audience}: {refused}");
    }
    let theirs = "spiffe://example.org/svc/alice".parse().unwrap();
    let refused = client.fetch_jwt_svid(["db"], Some(&theirs)).await.unwrap_err();
    assert!(matches!(refused, WorkloadApiError::NoIdentityIssued), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_trust_domain_is_believed_by_its_own_bundle_as_soon_as_that_is_known() {
    let port = free_port();
    let mut other = Agent::of_host(
        "other.org",
        "a.other.org",
        vec![],
        &format!(
            "[gossip]\nlisten = [\"127.0.0.1:{port}\"]\n[[identity]]\nname = \"theirs\"\nmatch = {{ uid = {} }}\n",
            geteuid()
        ),
    );
    other.start();
    other.admin_post("/api/admin/mesh/init", &json!({})).ok();
    let agent = agent();
    let client = WorkloadApiClient::connect_to(endpoint(&agent)).await.unwrap();
    let domain = TrustDomain::new("other.org").unwrap();
    let mut bundles = client.stream_x509_bundles().await.unwrap();
    assert!(next(&mut bundles).await.unwrap().bundle_for_trust_domain(&domain).unwrap().is_none());
    let theirs = WorkloadApiClient::connect_to(endpoint(&other)).await.unwrap();
    let token = theirs.fetch_jwt_svid(["db"], None).await.unwrap().token().to_owned();
    assert!(client.validate_jwt_token("db", &token).await.unwrap_err().is_invalid_argument(), "a stranger's");

    let first = other.path().join("first.json");
    std::fs::write(&first, &other.get("/v1/bundle?format=spiffe").body).unwrap();
    let declared = std::fs::read_to_string(agent.config()).unwrap();
    let section = format!(
        "[[federation]]\ntrust_domain = \"other.org\"\nurl = \"https://127.0.0.1:{port}/api/federation/bundle\"\n\
         profile = \"https_spiffe\"\nspiffe_id = \"spiffe://other.org/host/a.other.org\"\nbundle_file = {first:?}\n"
    );
    std::fs::write(agent.config(), format!("{declared}{section}")).unwrap();
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(next(&mut bundles).await.unwrap().bundle_for_trust_domain(&domain).unwrap().is_some());
    assert_eq!(client.validate_jwt_token("db", &token).await.unwrap().spiffe_id().to_string(), "spiffe://other.org/svc/theirs");
    let jwt = client.fetch_jwt_bundles().await.unwrap();
    spiffe::JwtSvid::parse_and_validate(&token, &jwt, &["db"]).unwrap();
    // It vouches for its own names alone, and no longer than it is declared.
    std::fs::write(agent.config(), declared).unwrap();
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(next(&mut bundles).await.unwrap().bundle_for_trust_domain(&domain).unwrap().is_none());
    assert!(client.validate_jwt_token("db", &token).await.unwrap_err().is_invalid_argument());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_the_crate_outlives_a_restart_of_the_agent() {
    let mut agent = agent();
    let source = X509Source::builder().endpoint(endpoint(&agent)).build().await.unwrap();
    let before = serial(&source.svid().unwrap());
    agent.stop();
    agent.start();
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "inside" })).ok();
    let begun = Instant::now();
    while serial(&source.svid().unwrap()) == before {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    source.shutdown().await;
}

/// One call by curl as a user: what came within so many seconds, headers and trailers with it. A refusal ends by itself.
fn call_as(user: &str, agent: &Agent, method: &str, header: bool, seconds: &str) -> String {
    let directory = agent.path().display().to_string();
    std::fs::write(agent.path().join("empty"), [0; 5]).unwrap();
    let socket = agent.run().join("workload.sock").display().to_string();
    let (data, url) = (format!("@{directory}/empty"), format!("http://localhost/{method}"));
    let mut words = vec!["--reuid", user, "--regid", user, "--clear-groups", "curl", "--silent", "--max-time", seconds];
    words.extend(["--http2-prior-knowledge", "--unix-socket", &socket, "--header", "content-type: application/grpc"]);
    words.extend(["--header", "te: trailers", "--data-binary", &data, "--dump-header", "-", "--output", "-", &url]);
    if header {
        words.extend(["--header", "workload.spiffe.io: true"]);
    }
    // Answered before it has sent its message, curl now and then shows nothing of the answer.
    (0..10).map(|_| text(&output("setpriv", &words))).find(|said| !said.is_empty()).unwrap_or_default()
}

#[test]
fn each_user_sees_its_own_and_nothing_without_the_header_or_an_identity_as_root() {
    let agent = agent();
    let fetch = "SpiffeWorkloadAPI/FetchX509SVID";
    wait_until("a user has its own", 30, || {
        let own = call_as(ALICE, &agent, fetch, true, "2");
        assert!(!own.contains("/svc/inside"), "{own}");
        own.contains("spiffe://example.org/svc/alice")
    });
    let without = call_as(ALICE, &agent, fetch, false, "20");
    assert!(without.contains("grpc-status: 3") && !without.contains("svc/alice"), "{without}");
    for method in [fetch, "SpiffeWorkloadAPI/FetchX509Bundles", "SpiffeWorkloadAPI/FetchJWTBundles"] {
        let nobody = call_as("46009", &agent, method, true, "20");
        assert!(nobody.contains("grpc-status: 7") && nobody.contains("no%20identity%20issued"), "{nobody}");
    }
    let unknown = call_as(ALICE, &agent, "SpiffeWorkloadAPI/Nothing", true, "20");
    assert!(unknown.contains("grpc-status: 12"), "{unknown}");
    let events = agent.ctl_json_lines(&["audit", "tail", "--lines", "100"]);
    let denied =
        |event: &&serde_json::Value| event["event"]["kind"] == "request-denied" && event["event"]["actor"]["uid"] == 46009;
    assert!(events.iter().filter(denied).count() >= 3, "{events:?}");
}

/// Runs a script of `tests/workload`, which must find all as it must be.
fn script(name: &str, agent: &Agent) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("workload").join(name);
    let mut command = Command::new(python());
    command.arg(script).arg(agent.run()).arg(agent.pid().to_string()).env("SPIFFE_ENDPOINT_SOCKET", endpoint(agent));
    let done = command.output().expect("Python");
    assert!(done.status.success(), "{name}: {}\n{}", text(&done), agent.log());
}

#[test]
fn the_library_of_python_follows_rotation_and_revocation_and_has_tokens() {
    script("following.py", &agent());
}

#[test]
fn what_is_served_is_told_by_reflection_and_a_wit_svid_has_its_own_key() {
    script("reflecting.py", &agent());
}

#[test]
fn one_user_with_too_many_streams_hinders_nobody_else_as_root() {
    let agent = agent();
    let begun = Instant::now();
    script("flooding.py", &agent);
    assert!(begun.elapsed() < Duration::from_secs(60));
    wait_until("all of it is let go", 20, || {
        !agent.admin_get("/metrics").text().lines().any(|line| line.starts_with("reverie_streams_open") && !line.ends_with(" 0"))
    });
}

/// Three other trust domains, each with as many keys for tokens as a bundle may have.
fn others(agent: &Agent) -> String {
    let others = ["a", "b", "c"].map(|name| {
        // 2048 bits, all set.
        let modulus = format!("{}w", "_".repeat(341));
        let key =
            |number| json!({ "use": "jwt-svid", "kid": format!("{name}{number}"), "kty": "RSA", "e": "AQAB", "n": modulus });
        let bundle = agent.path().join(format!("{name}.json"));
        std::fs::write(&bundle, json!({ "keys": (0..2300).map(key).collect::<Vec<_>>() }).to_string()).unwrap();
        format!(
            "[[federation]]\ntrust_domain = \"{name}.test\"\nurl = \"https://127.0.0.1:9/bundle\"\nprofile = \"https_spiffe\"\n\
             spiffe_id = \"spiffe://{name}.test/host\"\nbundle_file = {bundle:?}\n"
        )
    });
    others.concat()
}

#[test]
fn one_user_who_takes_nothing_of_megabytes_on_hundreds_of_streams_hinders_nobody_else_as_root() {
    let mut agent = agent();
    let declared = std::fs::read_to_string(agent.config()).unwrap();
    std::fs::write(agent.config(), format!("{declared}{}", others(&agent))).unwrap();
    agent.reload();
    script("hoarding.py", &agent);
}

#[test]
fn a_user_without_an_identity_holds_nothing_open_for_long_as_root() {
    script("lingering.py", &agent());
}

#[test]
fn a_reader_that_takes_nothing_meets_no_backlog_and_is_cut_off() {
    script("stalling.py", &agent());
}

/// Opens a stream, waits for its first message, and becomes another program that holds the connection open.
const TURNCOAT: &str = r#"
import os, socket, sys
def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
def field(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.set_inheritable(True)
fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/SpiffeWorkloadAPI/FetchX509SVID"), (b":authority", b"x"),
    (b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"workload.spiffe.io", b"true")]
s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, b"".join(field(*f) for f in fields)) + frame(0, 1, 1, bytes(5)))
got = b""
while b"/svc/trusted" not in got:
    got += s.recv(65536)
os.execv("/bin/sleep", ["sleep", "60"])
"#;

#[test]
fn a_process_that_becomes_another_program_is_sent_nothing_more_as_root() {
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let rule = format!("uid = {ALICE}, exe = {python:?}");
    let mut agent = Agent::new(&format!("[[identity]]\nname = \"trusted\"\nmatch = {{ {rule} }}\n"));
    agent.start();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ALICE, "--regid", ALICE, "--clear-groups", "--pdeathsig", "KILL"]).arg(python);
    let mut turncoat = command.args(["-c", TURNCOAT]).arg(agent.run().join("workload.sock")).spawn().unwrap();
    wait_until("it is another program", 20, || {
        std::fs::read_link(format!("/proc/{}/exe", turncoat.id())).is_ok_and(|exe| exe.ends_with("sleep"))
    });
    assert_eq!(handed(&agent), 1);
    agent.admin_post("/api/admin/rotate", &json!({ "identity": "trusted" })).ok();
    wait_until("it is refused", 20, || {
        let events = agent.ctl_json_lines(&["audit", "tail", "--lines", "100"]);
        let refused = |event: &serde_json::Value| {
            event["event"]["kind"] == "request-denied" && event["event"]["subject"]["object"] == "FetchX509SVID"
        };
        events.iter().any(refused)
    });
    assert_eq!(handed(&agent), 1, "the new key was not for it");
    turncoat.kill().unwrap();
    turncoat.wait().unwrap();
}
