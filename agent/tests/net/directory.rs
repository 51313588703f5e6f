//! The directory is asked when it is set up.

use reverie_core::ipc::net::TopologySettings;

use super::fixture::Host;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_asked_is_reported() {
    let host = Host::start_with("a.example.org", |situation| {
        situation.settings.topology = Some(TopologySettings {
            uris: vec!["ldap://127.0.0.1:1".into()],
            suffix: "dc=example,dc=org".into(),
            ca_pem: None,
            bind: None,
            interval_s: 1,
        });
    })
    .await;
    host.wait_until("it is asked again and again", || host.kept(|kept| kept.topology.len() >= 2)).await;
    assert!(host.kept(|kept| kept.topology.iter().all(Result::is_err)));
}
