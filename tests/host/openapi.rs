//! The OpenAPI document against the handlers.

use reverie_tests::agent::Agent;
use reverie_tests::http::request;
use serde_json::Value;

/// Every required property of `schema`, references followed, is in `value`.
fn conforms(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => schema,
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at} lacks {required}: {value}");
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(inner) = value.get(name).filter(|inner| inner.is_object()) {
            conforms(document, property, inner, &format!("{at}.{name}"));
        }
    }
}

#[test]
fn every_described_operation_is_answered_and_every_answer_is_as_described() {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    let document = agent.get("/v1/openapi.json").ok();
    let mut answered = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if id == "Watch" {
                continue; // It does not end; `a_watcher_sees_the_present…` drives it.
            }
            let socket = match operation["tags"][0].as_str().unwrap() {
                "agent.sock" => agent.agent_socket(),
                _ => agent.admin_socket(),
            };
            let body = match id {
                "Explain" => "{\"uid\":0}",
                "Rotate" => "{\"identity\":\"web\"}",
                "Revoke" => "{\"identity\":\"web\"}",
                "RotateIssuer" => "{\"issuer\":\"intermediate\"}",
                "SealSecret" => "{\"value\":\"eA==\"}",
                "MintToken" => "{\"allow\":[\"cert rotate web\"],\"ttl_seconds\":5}",
                _ => "",
            };
            let answer = request(&socket, &method.to_uppercase(), &path.replace("{name}", "web"), &[], body.as_bytes());
            assert_ne!(answer.status, 405, "{id}");
            assert!(answer.status != 404 || !answer.text().contains("there is nothing at"), "{id}: {}", answer.text());
            if answer.status == 200 && answer.head.contains("application/json") {
                let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
                conforms(&document, schema, &answer.json(), id);
                answered += 1;
            }
        }
    }
    assert!(answered >= 20, "only {answered} operations gave a document");
}
