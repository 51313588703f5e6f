//! The OpenAPI 3.1 document, from [`Operation`] and the types' own schemas.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Operation, Problem, Surface, admin, local, mesh};

/// The document for one surface or for both.
pub fn document(version: &str) -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for &operation in Operation::ALL {
        let entry = describe(operation, &mut generator);
        let path = paths.entry(operation.path()).or_insert_with(|| json!({}));
        path[operation.method().as_str().to_lowercase()] = entry;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Reverie local API",
            "version": version,
            "description": "HTTP/1.1 over unix sockets. The kernel says who the caller is; there is nothing to log in with. \
                            `Authorization: Biscuit TOKEN` adds what a capability token grants.",
            "license": { "name": "Apache-2.0 OR MIT" },
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn describe(operation: Operation, generator: &mut SchemaGenerator) -> Value {
    let (request, response) = bodies(operation, generator);
    let problem = json!({
        "description": "What happened, and what to try (RFC 9457)",
        "content": { "application/problem+json": { "schema": generator.subschema_for::<Problem>() } },
    });
    let media = match operation {
        Operation::Watch => "text/event-stream",
        Operation::Metrics => "text/plain",
        _ => "application/json",
    };
    let mut content = Map::from_iter([(media.to_owned(), json!({ "schema": response }))]);
    if let Some(other) = other_media(operation) {
        content.insert(other.to_owned(), json!({ "schema": { "type": "string" } }));
    }
    let mut entry = json!({
        "operationId": operation.id(),
        "summary": operation.summary(),
        "tags": [match operation.surface() { Surface::Local => "agent.sock", Surface::Admin => "admin.sock" }],
        "responses": { "200": { "description": "Done", "content": content }, "default": problem },
    });
    if let Some(request) = request {
        entry["requestBody"] = json!({ "content": { "application/json": { "schema": request } } });
    }
    let mut parameters = vec![];
    if operation.path().contains("{name}") {
        parameters.push(json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    for (name, schema) in query(operation) {
        parameters.push(json!({ "name": name, "in": "query", "required": false, "schema": schema }));
    }
    if !parameters.is_empty() {
        entry["parameters"] = Value::Array(parameters);
    }
    entry
}

/// What `?format=` gives instead of JSON.
fn other_media(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Bundle | Operation::Crl => Some("application/x-pem-file"),
        Operation::ReadSecret | Operation::RevealSecret => Some("application/octet-stream"),
        _ => None,
    }
}

/// Query parameters of an operation.
fn query(operation: Operation) -> Vec<(&'static str, Value)> {
    match operation {
        Operation::Bundle => {
            vec![("format", json!({ "enum": ["json", "pem", "spiffe"] })), ("trust_domain", json!({ "type": "string" }))]
        }
        Operation::Crl => vec![("format", json!({ "enum": ["json", "pem"] }))],
        Operation::ReadSecret | Operation::RevealSecret => vec![("format", json!({ "enum": ["json", "raw"] }))],
        Operation::AuditLines => {
            vec![
                ("after", json!({ "type": "integer", "minimum": 0 })),
                ("limit", json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
            ]
        }
        _ => vec![],
    }
}

fn bodies(operation: Operation, g: &mut SchemaGenerator) -> (Option<Value>, Value) {
    fn of<T: JsonSchema>(g: &mut SchemaGenerator) -> Value {
        g.subschema_for::<T>().to_value()
    }
    match operation {
        Operation::Whoami => (None, of::<local::Whoami>(g)),
        Operation::ListIdentities => (None, of::<local::Identities>(g)),
        Operation::ShowIdentity => (None, of::<local::IdentitySummary>(g)),
        Operation::IssueCertificate => (Some(of::<local::IssueRequest>(g)), of::<local::Certificate>(g)),
        Operation::ReadCertificate => (None, of::<local::Certificate>(g)),
        Operation::RotateOwn => (None, of::<admin::Rotated>(g)),
        Operation::RevokeOwn => (None, of::<admin::Revoked>(g)),
        Operation::Bundle => (None, of::<local::Bundle>(g)),
        Operation::Crl => (None, of::<local::Crls>(g)),
        Operation::ListSecrets => (None, of::<local::SecretNames>(g)),
        Operation::ReadSecret | Operation::RevealSecret => (None, of::<local::SecretValue>(g)),
        Operation::Watch => (None, of::<local::WatchEvent>(g)),
        Operation::OpenApi => (None, json!({ "type": "object" })),
        Operation::Status => (None, of::<admin::Status>(g)),
        Operation::AllIdentities => (None, of::<admin::AllIdentities>(g)),
        Operation::Explain => (Some(of::<admin::ExplainRequest>(g)), of::<crate::rule::Explanation>(g)),
        Operation::Certificates => (None, of::<admin::Certificates>(g)),
        Operation::Rotate => (Some(of::<admin::RotateRequest>(g)), of::<admin::Rotated>(g)),
        Operation::Revoke => (Some(of::<admin::RevokeRequest>(g)), of::<admin::Revoked>(g)),
        Operation::RotateIssuer => (Some(of::<admin::RotateIssuerRequest>(g)), of::<admin::IssuerStatus>(g)),
        Operation::ListAllSecrets => (None, of::<admin::Secrets>(g)),
        Operation::SealSecret => (Some(of::<admin::SealRequest>(g)), of::<admin::SecretSummary>(g)),
        Operation::RemoveSecret => (None, of::<admin::SecretSummary>(g)),
        Operation::MintToken => (Some(of::<admin::MintRequest>(g)), of::<admin::Minted>(g)),
        Operation::RevokeToken => (Some(of::<admin::RevokeTokenRequest>(g)), of::<admin::Health>(g)),
        Operation::TokenKey => (None, of::<admin::TokenKey>(g)),
        Operation::AuditLines => (
            None,
            json!({
                "type": "object",
                "required": ["lines", "head"],
                "properties": { "lines": { "type": "array", "items": { "type": "string" } }, "head": of::<crate::audit::ChainHead>(g) },
            }),
        ),
        Operation::AuditVerify => (None, of::<admin::AuditVerdict>(g)),
        Operation::Mesh | Operation::LeaveMesh | Operation::ResumeMesh => (None, of::<mesh::MeshStatus>(g)),
        Operation::InitMesh => (Some(of::<mesh::InitRequest>(g)), of::<mesh::MeshStatus>(g)),
        Operation::JoinMesh => (Some(of::<mesh::JoinRequest>(g)), of::<mesh::MeshStatus>(g)),
        Operation::Invite | Operation::Readmit => (Some(of::<mesh::InviteRequest>(g)), of::<mesh::Invited>(g)),
        Operation::Promote | Operation::Evict => (Some(of::<mesh::NodeRequest>(g)), of::<mesh::MeshStatus>(g)),
        Operation::RotateMesh => (Some(of::<mesh::RotateRequest>(g)), of::<mesh::MeshStatus>(g)),
        Operation::SetIssuingLimits => (Some(of::<crate::mesh::collection::IssuingLimits>(g)), of::<mesh::MeshStatus>(g)),
        Operation::PutClient => (Some(of::<mesh::ClientRequest>(g)), of::<admin::Health>(g)),
        Operation::RemoveClient => (None, of::<admin::Health>(g)),
        Operation::Tunnels => (None, of::<admin::Tunnels>(g)),
        Operation::Health | Operation::Ready => (None, of::<admin::Health>(g)),
        Operation::Metrics => (None, json!({ "type": "string" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described_and_every_reference_resolves() {
        let document = document("0");
        let text = document.to_string();
        for &operation in Operation::ALL {
            let entry = &document["paths"][operation.path()][operation.method().as_str().to_lowercase()];
            assert_eq!(entry["operationId"], operation.id());
        }
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference} does not resolve");
        }
    }
}
