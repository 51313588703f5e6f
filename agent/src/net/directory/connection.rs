//! One connection to the first of several servers that answers.

use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use pem::Pem;
use reverie_core::ipc::net::TopologySettings;
use rustls::{ClientConfig, RootCertStore};

/// For connecting and binding at one server.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// For one operation.
pub const OPERATION_DEADLINE: Duration = Duration::from_secs(5);

/// Connects, with TLS, and binds. The error names each server and why it would not do.
pub async fn connect(settings: &TopologySettings) -> Result<Ldap, String> {
    let tls = settings.ca_pem.as_deref().map(tls_config).transpose()?;
    let mut reasons = vec![];
    for uri in &settings.uris {
        let attempt = tokio::time::timeout(CONNECT_DEADLINE, connect_to(uri, tls.clone(), settings.bind.as_ref()));
        match attempt.await {
            Ok(Ok(ldap)) => return Ok(ldap),
            Ok(Err(why)) => reasons.push(format!("{uri}: {why}")),
            Err(_) => reasons.push(format!("{uri}: no answer within {} s", CONNECT_DEADLINE.as_secs())),
        }
    }
    match reasons.is_empty() {
        true => Err("no directory server is configured: set `gossip.ipa_ldap_uris`".to_owned()),
        false => Err(reasons.join("; ")),
    }
}

async fn connect_to(uri: &str, tls: Option<Arc<ClientConfig>>, bind: Option<&(String, String)>) -> Result<Ldap, String> {
    let starttls = match uri.split_once("://") {
        Some(("ldaps", _)) => false,
        Some(("ldap", _)) => true,
        _ => return Err("not an ldaps:// or ldap:// address".to_owned()),
    };
    let mut connecting = LdapConnSettings::new().set_conn_timeout(CONNECT_DEADLINE).set_starttls(starttls);
    if let Some(tls) = tls {
        connecting = connecting.set_config(tls);
    }
    let (connection, mut ldap) = LdapConnAsync::with_settings(connecting, uri).await.map_err(|error| error.to_string())?;
    // It ends when `ldap` is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.drive().await {
            tracing::debug!(%error, "the connection to the directory ended");
        }
    });
    if let Some((name, password)) = bind {
        // A name with an empty password binds as nobody, and says so to nobody (RFC 4513 §5.1.2).
        if password.is_empty() {
            return Err("the password to bind with is empty".to_owned());
        }
        let bound = ldap.with_timeout(OPERATION_DEADLINE).simple_bind(name, password).await;
        bound.and_then(ldap3::LdapResult::success).map_err(|error| format!("cannot bind as {name}: {error}"))?;
    }
    Ok(ldap)
}

fn tls_config(ca_pem: &str) -> Result<Arc<ClientConfig>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("the certificates of `gossip.ipa_ca_file` cannot be used: {why}");
    let mut roots = RootCertStore::empty();
    for block in pem::parse_many(ca_pem).map_err(|error| wrong(&error))?.iter().filter(|block| block.tag() == "CERTIFICATE") {
        roots.add(Pem::contents(block).to_vec().into()).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is none in it"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(builder.map_err(|error| wrong(&error))?.with_root_certificates(roots).with_no_client_auth()))
}
