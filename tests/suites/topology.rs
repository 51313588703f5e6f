//! Who takes part in FreeIPA's replication, as a real slapd with that tree says.

use reverie_agent::net::directory::topology::look_up;
use reverie_core::ipc::net::TopologySettings;
use reverie_tests::ipa::{Ipa, READER, SUFFIX};

fn settings(ipa: &Ipa) -> TopologySettings {
    TopologySettings {
        uris: ipa.uris()[..1].to_vec(),
        suffix: SUFFIX.to_owned(),
        ca_pem: Some(std::fs::read_to_string(ipa.ca_file()).unwrap()),
        bind: Some((READER.0.to_owned(), READER.1.to_owned())),
        interval_s: 1,
    }
}

fn asked(settings: &TopologySettings) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(look_up(settings))
}

const PAIRS: [(&str, &str); 2] = [("one.mesh.test", "two.mesh.test"), ("two.mesh.test", "three.mesh.test")];

#[test]
fn the_servers_of_the_topology_are_found_by_ldaps_and_by_starttls() {
    let ipa = Ipa::start(&PAIRS);
    for uri in ipa.uris() {
        let settings = TopologySettings { uris: vec![uri.clone()], ..settings(&ipa) };
        assert_eq!(asked(&settings).unwrap(), ["one.mesh.test", "three.mesh.test", "two.mesh.test"], "{uri}");
    }
    ipa.add("four.mesh.test", "one.mesh.test");
    assert_eq!(asked(&settings(&ipa)).unwrap().len(), 4);
    ipa.remove("three.mesh.test");
    assert_eq!(asked(&settings(&ipa)).unwrap(), ["four.mesh.test", "one.mesh.test", "two.mesh.test"]);
}

#[test]
fn a_second_server_answers_when_the_first_is_away() {
    let ipa = Ipa::start(&PAIRS);
    let uris = vec!["ldaps://localhost:1".to_owned(), ipa.uris()[0].clone()];
    assert_eq!(asked(&TopologySettings { uris, ..settings(&ipa) }).unwrap().len(), 3);
}

#[test]
fn no_answer_is_an_error_that_says_what_to_look_at() {
    let mut ipa = Ipa::start(&PAIRS);
    let refused = |change: &dyn Fn(&mut TopologySettings)| {
        let mut settings = settings(&ipa);
        change(&mut settings);
        asked(&settings).unwrap_err()
    };
    let elsewhere = refused(&|settings| settings.suffix = "dc=other".to_owned());
    assert!(elsewhere.contains("ipa_suffix"), "{elsewhere}");
    let wrong = refused(&|settings| settings.bind = Some((READER.0.to_owned(), "wrong".to_owned())));
    assert!(wrong.contains("cannot bind as uid=reader"), "{wrong}");
    let empty = refused(&|settings| settings.bind = Some((READER.0.to_owned(), String::new())));
    assert!(empty.contains("is empty"), "{empty}");
    // Who may read nothing is not told of an empty topology.
    let anonymous = refused(&|settings| settings.bind = None);
    assert!(["failed", "no IPA server", "there is no"].iter().any(|told| anonymous.contains(told)), "{anonymous}");
    let untrusted = refused(&|settings| settings.ca_pem = None);
    assert!(untrusted.contains("ldaps://"), "{untrusted}");
    let plain = refused(&|settings| settings.uris = vec!["ldapi:///x".to_owned()]);
    assert!(plain.contains("not an ldaps://"), "{plain}");
    ipa.stop();
    let away = asked(&settings(&ipa)).unwrap_err();
    assert!(away.contains("ldaps://localhost"), "{away}");
}
