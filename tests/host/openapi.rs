//! The OpenAPI document against the handlers: every operation is asked, and what it answers is held to its schema.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use reverie_tests::agent::Agent;
use reverie_tests::http::{Answer, request};
use serde_json::{Value, json};

/// The document, and how to ask for what it describes.
struct Api {
    agent: Agent,
    document: Value,
}

impl Api {
    fn started() -> Self {
        let mut agent = Agent::new(&format!("{}[[secret]]\nname = \"web\"\nallow = [\"web\"]\n", Agent::web()));
        agent.start();
        agent.file("web", "tls.key");
        let document = agent.get("/v1/openapi.json").ok();
        Self { agent, document }
    }

    /// Method, path and description of an operation.
    fn operation(&self, id: &str) -> (String, String, &Value) {
        let paths = self.document["paths"].as_object().unwrap();
        let mut all = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
        });
        all.find(|(_, _, operation)| operation["operationId"] == id).unwrap_or_else(|| panic!("{id} is not described"))
    }

    fn ids(&self) -> BTreeSet<&str> {
        let operations = self.document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap());
        operations.map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect()
    }

    fn socket(&self, operation: &Value) -> std::path::PathBuf {
        match operation["tags"][0].as_str().unwrap() {
            "agent.sock" => self.agent.agent_socket(),
            "admin.sock" => self.agent.admin_socket(),
            other => panic!("{other} is no socket"),
        }
    }

    /// Asks, with `web` wherever a name is wanted.
    fn ask(&self, id: &str, query: &str, token: Option<&str>, body: &str) -> Answer {
        let (method, path, operation) = self.operation(id);
        if !body.is_empty() {
            self.conforms(
                &operation["requestBody"]["content"]["application/json"]["schema"],
                &serde_json::from_str(body).unwrap(),
                id,
            );
        }
        let path =
            format!("{}{query}", path.replace("{name}", "web").replace("{node}", "nobody.example.org").replace("{id}", "app"));
        let authorization = token.map(|token| format!("Biscuit {token}"));
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        request(&self.socket(operation), &method, &path, &headers, body.as_bytes())
    }

    #[track_caller]
    fn conforms(&self, schema: &Value, value: &Value, at: &str) {
        assert!(schema.is_object(), "{at} has no schema");
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        if schema.get("$ref").is_some() {
            // Nor is anything said that is not described.
            whole["unevaluatedProperties"] = json!(false);
        }
        let validator = jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{at}: {error}"));
        let faults: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(faults.is_empty(), "{at}: {faults:?} in {value}");
    }

    /// A good answer has a described media type, and if that is JSON its schema.
    #[track_caller]
    fn answered(&self, id: &str, answer: &Answer) {
        let content = &self.operation(id).2["responses"]["200"]["content"];
        let media = media_type(answer);
        let schema = content.get(&media).unwrap_or_else(|| panic!("{id} answers {media}, which is not described")).get("schema");
        match media.as_str() {
            "application/json" => self.conforms(schema.unwrap(), &answer.json(), id),
            _ => assert!(!answer.body.is_empty(), "{id}"),
        }
    }

    /// A refusal is a described problem that agrees with its own status line.
    #[track_caller]
    fn refused(&self, operation: &Value, answer: &Answer, at: &str) {
        assert_eq!(media_type(answer), "application/problem+json", "{at}");
        let problem = answer.json();
        self.conforms(&operation["responses"]["default"]["content"]["application/problem+json"]["schema"], &problem, at);
        assert_eq!(problem["status"], answer.status, "{at}");
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{at}: {problem}");
    }
}

fn media_type(answer: &Answer) -> String {
    let header = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).expect("a content type");
    header.split(';').next().unwrap().to_owned()
}

/// Operation, query, body, status. In this order: some need what an earlier one made.
const EXPECTED: &[(&str, &str, &str, u16)] = &[
    ("Whoami", "", "", 200),
    ("ListIdentities", "", "", 200),
    ("ShowIdentity", "", "", 200),
    ("IssueCertificate", "", "", 200),
    ("IssueCertificate", "", "{}", 200),
    ("ReadCertificate", "", "", 200),
    ("RotateOwn", "", "", 403),
    ("RevokeOwn", "", "", 403),
    ("Bundle", "", "", 200),
    ("Bundle", "?format=json", "", 200),
    ("Bundle", "?format=pem", "", 200),
    ("Crl", "", "", 200),
    ("Crl", "?format=pem", "", 200),
    ("OpenApi", "", "", 200),
    ("Status", "", "", 200),
    ("AllIdentities", "", "", 200),
    ("Explain", "", "{\"uid\":0}", 200),
    ("Certificates", "", "", 200),
    ("Rotate", "", "{\"identity\":\"web\"}", 200),
    ("Revoke", "", "{\"identity\":\"web\"}", 200),
    ("RotateIssuer", "", "{\"issuer\":\"intermediate\"}", 200),
    ("RotateIssuer", "", "{\"issuer\":\"root\",\"overlap_seconds\":3600}", 200),
    ("ReadSecret", "", "", 404),
    ("RevealSecret", "", "", 404),
    ("RemoveSecret", "", "", 404),
    ("SealSecret", "", "{\"value\":\"eA==\"}", 200),
    ("ListSecrets", "", "", 200),
    ("ReadSecret", "", "", 200),
    ("ReadSecret", "?format=raw", "", 200),
    ("ListAllSecrets", "", "", 200),
    ("RevealSecret", "", "", 200),
    ("RevealSecret", "?format=raw", "", 200),
    ("RemoveSecret", "", "", 200),
    ("MintToken", "", "{\"allow\":[\"cert rotate web\"],\"ttl_seconds\":5,\"uid\":0}", 200),
    ("RevokeToken", "", "{\"revocation_id\":\"00ff\"}", 422),
    ("TokenKey", "", "", 200),
    ("Tunnels", "", "", 200),
    ("AuditLines", "", "", 200),
    ("AuditLines", "?after=2&limit=1", "", 200),
    ("AuditVerify", "", "", 200),
    ("Mesh", "", "", 200),
    ("Invite", "", "{\"node_id\":\"db.example.org\",\"ttl_seconds\":60}", 409),
    ("JoinMesh", "", "{\"address\":\"127.0.0.1:1\"}", 409),
    ("InitMesh", "", "{}", 200),
    ("InitMesh", "", "{}", 409),
    ("Mesh", "", "", 200),
    ("Invite", "", "{\"node_id\":\"db.example.org\",\"ttl_seconds\":60}", 200),
    ("Readmit", "", "{\"node_id\":\"nobody.example.org\",\"ttl_seconds\":60}", 404),
    ("Promote", "", "{\"node_id\":\"nobody.example.org\"}", 404),
    ("Evict", "", "{\"node_id\":\"nobody.example.org\"}", 404),
    ("RotateMesh", "", "{\"what\":\"wrapping-key\"}", 200),
    ("SetIssuingLimits", "", "{\"dns\":[],\"addresses\":[],\"spiffe\":[],\"token_subjects\":[],\"token_audiences\":[]}", 404),
    ("ResumeMesh", "", "", 409),
    ("PutClient", "", "{\"display_name\":\"app\"}", 200),
    ("RemoveClient", "", "", 200),
    ("LeaveMesh", "", "", 200),
    ("Health", "", "", 200),
    ("Ready", "", "", 200),
    ("Metrics", "", "", 200),
];

#[test]
fn every_described_operation_is_answered_with_what_is_described() {
    let api = Api::started();
    for (id, query, body, status) in EXPECTED {
        let answer = api.ask(id, query, None, body);
        let at = format!("{id}{query} {body}");
        assert_eq!(answer.status, *status, "{at}: {}", answer.text());
        match status {
            200 => api.answered(id, &answer),
            _ => api.refused(api.operation(id).2, &answer, &at),
        }
    }
    // These need more than a constant body.
    let explained = api.ask("Explain", "", None, &json!({ "pid": std::process::id() }).to_string());
    assert_eq!(explained.status, 200, "{}", explained.text());
    api.answered("Explain", &explained);
    let minted = api.ask("MintToken", "", None, "{\"allow\":[\"cert rotate web\",\"cert revoke web\"],\"ttl_seconds\":60}").ok();
    for id in ["RotateOwn", "RevokeOwn"] {
        let answer = api.ask(id, "", minted["token"].as_str(), "");
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        api.answered(id, &answer);
    }
    let revoked = api.ask("RevokeToken", "", None, &json!({ "revocation_id": minted["revocation_id"] }).to_string());
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    api.answered("RevokeToken", &revoked);
    watched(&api);

    let asked: BTreeSet<&str> =
        EXPECTED.iter().map(|(id, ..)| *id).chain(["RotateOwn", "RevokeOwn", "RevokeToken", "Watch"]).collect();
    assert_eq!(asked, api.ids(), "a new operation wants a line in this test");
}

/// The first events of a watch, each by the schema.
fn watched(api: &Api) {
    let (method, path, operation) = api.operation("Watch");
    let mut stream = UnixStream::connect(api.socket(operation)).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    assert!(head[0].contains(" 200 ") && head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
    let schema = &operation["responses"]["200"]["content"]["text/event-stream"]["schema"];
    for kind in ["rotation", "trust"] {
        let data = lines.by_ref().find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).expect("an event");
        let event: Value = serde_json::from_str(&data).unwrap();
        api.conforms(schema, &event, "Watch");
        assert_eq!(event["event"], kind);
    }
}

#[test]
fn every_kind_of_refusal_is_a_described_problem() {
    let api = Api::started();
    let (_, _, any) = api.operation("Whoami");
    let (local, admin) = (api.agent.agent_socket(), api.agent.admin_socket());
    let issue = "/v1/identities/web/certificates";
    let large = "x".repeat(300 * 1024);
    let token = [("authorization", "Biscuit nonsense")];
    let refusals: [(&std::path::Path, &str, &str, &[(&str, &str)], &str, u16, &str); 8] = [
        (&local, "POST", issue, &[], "{", 400, "malformed"),
        (&local, "POST", "/v1/identities/web/rotate", &token, "", 401, "bad-token"),
        (&local, "GET", "/v1/identities/other", &[], "", 403, "not-permitted"),
        (&local, "GET", "/v1/nothing", &[], "", 404, "not-found"),
        (&local, "PATCH", "/v1/whoami", &[], "", 405, "method-not-allowed"),
        (&local, "POST", issue, &[], &large, 413, "too-large"),
        (&local, "POST", issue, &[], "{\"csr\":\"nonsense\"}", 422, "bad-request"),
        (&admin, "POST", "/api/admin/rotate", &[], "{\"identity\":\"other\"}", 404, "not-found"),
    ];
    for (socket, method, path, headers, body, status, code) in refusals {
        let answer = request(socket, method, path, headers, body.as_bytes());
        let at = format!("{method} {path}: {}", answer.text());
        assert_eq!(answer.status, status, "{at}");
        api.refused(any, &answer, &at);
        assert_eq!(answer.json()["type"], code, "{at}");
    }
}

#[test]
fn too_many_requests_are_refused_by_a_described_problem() {
    let mut api = Api::started();
    api.agent.configure(&format!("[limits]\nrequests_per_second = 1\nburst = 1\n{}", Agent::web()));
    api.agent.reload();
    let refused = (0..10).map(|_| api.agent.get("/v1/whoami")).find(|answer| answer.status != 200).expect("one is too many");
    assert_eq!(refused.status, 429);
    api.refused(api.operation("Whoami").2, &refused, "too many");
}
