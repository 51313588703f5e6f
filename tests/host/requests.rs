//! Bad requests: each gets a clear answer, and the agent stays up.

use std::io::Write;
use std::os::unix::net::UnixStream;

use reverie_tests::agent::Agent;
use reverie_tests::http::{read_answer, request};
use reverie_tests::programs::run;
use serde_json::json;

fn started() -> Agent {
    let mut agent = Agent::with_web();
    agent.start();
    agent
}

#[test]
fn a_malformed_request_is_answered_400_and_harms_nobody() {
    let agent = started();
    for bytes in ["GET\r\n\r\n", "GET /v1/whoami SPDY/9\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n"] {
        let mut stream = UnixStream::connect(agent.agent_socket()).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).status, 400, "{bytes:?}");
    }
    let issue = "/v1/identities/web/certificates";
    for body in ["{", "7", "{\"csr\": 7}", "{\"crs\": \"\"}", "\u{0}"] {
        let detail = request(&agent.agent_socket(), "POST", issue, &[], body.as_bytes()).problem(400);
        assert!(detail.contains("cannot be read"), "{detail}");
    }
    agent.get("/v1/whoami").ok();
}

#[test]
fn an_oversized_request_is_refused_by_size() {
    let agent = started();
    let large = vec![b' '; 300 * 1024];
    let detail = request(&agent.agent_socket(), "POST", "/v1/identities/web/certificates", &[], &large).problem(413);
    assert_eq!(detail, "the request is larger than 32768 bytes");
    let detail = request(&agent.agent_socket(), "GET", "/v1/whoami", &[], b"x").problem(413);
    assert_eq!(detail, "this request takes no body");
    let detail = request(&agent.admin_socket(), "PUT", "/api/admin/secrets/x", &[], &large).problem(413);
    assert_eq!(detail, "the request is larger than 262144 bytes");
    let long = "x".repeat(20 * 1024);
    let detail = request(&agent.agent_socket(), "GET", "/v1/whoami", &[("x-long", &long)], b"").problem(413);
    assert_eq!(detail, "the request's headers are larger than 16384 bytes");
    let endless = "x".repeat(100 * 1024);
    assert_eq!(request(&agent.agent_socket(), "GET", "/v1/whoami", &[("x-long", &endless)], b"").status, 431);
    let token = format!("Biscuit {}", "A".repeat(10_000));
    let detail =
        request(&agent.agent_socket(), "POST", "/v1/identities/web/rotate", &[("authorization", &token)], b"").problem(401);
    assert!(detail.contains("longer than 8192 bytes"), "{detail}");
    agent.get("/v1/whoami").ok();
}

#[test]
fn an_unknown_path_or_method_says_what_there_is() {
    let agent = started();
    assert!(agent.get("/v2/whoami").problem(404).contains("/v2/whoami"));
    let answer = request(&agent.agent_socket(), "DELETE", "/v1/whoami", &[], b"");
    assert_eq!(answer.problem(405), "/v1/whoami takes GET, not DELETE");
    agent.get("/api/admin/status").problem(404);
}

#[test]
fn an_identity_that_does_not_exist_and_one_of_somebody_else_are_refused_alike() {
    let mut agent = Agent::new(&format!("{}[[identity]]\nname = \"other\"\nmatch = {{ uid = 4242 }}\n", Agent::web()));
    agent.start();
    let refusal = |name: &str| {
        let detail = agent.post(&format!("/v1/identities/{name}/certificates"), &json!({})).problem(403);
        detail.replace(name, "NAME")
    };
    assert_eq!(refusal("other"), refusal("never"));
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let agent = started();
    for name in ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "self", "%00", "WEB", "web%2f", &"x".repeat(300)] {
        let status = agent.post(&format!("/v1/identities/{name}/certificates"), &json!({})).status;
        assert!(status == 403 || status == 404, "{name:?} was answered {status}");
        let status = agent.get(&format!("/v1/secrets/{name}")).status;
        assert!(status == 403 || status == 404, "{name:?} was answered {status}");
    }
}

#[test]
fn a_csr_is_certified_for_the_identitys_own_names_only() {
    let agent = started();
    let csr = |arguments: &[&str]| {
        let fixed = ["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/"];
        run("openssl", &[&fixed, arguments].concat())
    };
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let ask = |csr: String| agent.post("/v1/identities/web/certificates", &json!({ "csr": csr }));
    let issued = ask(csr(&[&p256[..], &["-addext", "subjectAltName=DNS:web.example.org"]].concat())).ok();
    assert!(issued.get("private_key").is_none());
    let refusals = [
        (csr(&[&p256[..], &["-addext", "subjectAltName=DNS:db.example.org"]].concat()), "db.example.org"),
        (csr(&[&p256[..], &["-addext", "basicConstraints=CA:TRUE"]].concat()), "can sign others"),
        (csr(&["-newkey", "rsa:1024"]), "RSA of 1024 bits"),
        ("garbage".to_owned(), "not a certificate request"),
    ];
    for (csr, expected) in refusals {
        let detail = ask(csr).problem(422);
        assert!(detail.contains(expected), "{detail}");
    }
}
