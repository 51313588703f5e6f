//! Capability tokens without an agent.

use reverie_core::capability::{Grant, Restriction, mint, root_key};
use reverie_core::moment::Moment;

use crate::transcript::Transcript;

/// The end of the year 2099: no test of ours lives to see it.
const FAR: Moment = Moment::from_secs(4_102_444_799);

fn token() -> String {
    let grants: Vec<Grant> = ["cert rotate web", "secret read *"].map(|text| text.parse().unwrap()).into();
    let limits = Restriction { expires_at: Some(FAR), ..Restriction::default() };
    mint(&root_key(&[7; 32]).unwrap(), &[9; 32], &grants, &limits).unwrap().0
}

fn public_key() -> String {
    root_key(&[7; 32]).unwrap().public().to_string()
}

#[test]
fn a_token_is_inspected_and_verified_offline() {
    let mut transcript = Transcript::alone();
    let key = public_key();
    transcript.run_with_input(&["token", "inspect"], &token());
    transcript.run_with_input(&["token", "inspect", "--json"], &token());
    let verify = ["token", "verify", "--public-key", &key, "--uid", "7", "--operation"];
    for (operation, exit) in [("cert rotate web", 0), ("secret read anything", 0), ("cert revoke web", 77)] {
        assert_eq!(transcript.run_with_input(&[&verify[..], &[operation]].concat(), &token()).exit, exit);
    }
    transcript.run_with_input(&[&verify[..], &["cert rotate web", "--json"]].concat(), &token());
    transcript.matches("token");
}

#[test]
fn a_narrower_token_is_made_without_the_agent_and_holds() {
    let mut transcript = Transcript::alone();
    transcript.write("wide", token());
    let attenuate = ["token", "attenuate", "--allow", "cert rotate web", "--uid", "7", "--ttl", "1h", "--token-file", "wide"];
    let narrow = transcript.run_silently(&attenuate, "");
    assert_eq!(narrow.exit, 0, "{}", narrow.err);
    let key = public_key();
    transcript.env.push(("REVERIE_TOKEN", narrow.out.trim().to_owned()));
    for (operation, uid, exit) in [("cert rotate web", "7", 0), ("cert rotate web", "8", 77), ("secret read x", "7", 77)] {
        let verify = ["token", "verify", "--public-key", &key, "--uid", uid, "--operation", operation];
        assert_eq!(transcript.run_silently(&verify, "").exit, exit, "{operation} {uid}");
    }
    let json = transcript.run_silently(&["token", "attenuate", "--uid", "7", "--json"], "");
    assert!(serde_json::from_str::<serde_json::Value>(&json.out).unwrap()["token"].is_string());
}

#[test]
fn an_expired_token_is_refused() {
    let transcript = Transcript::alone();
    let grants = ["cert rotate web".parse().unwrap()];
    let limits = Restriction { expires_at: Some(Moment::from_secs(1)), ..Restriction::default() };
    let (expired, _) = mint(&root_key(&[7; 32]).unwrap(), &[9; 32], &grants, &limits).unwrap();
    let key = public_key();
    let verify = ["token", "verify", "--public-key", &key, "--uid", "7", "--operation", "cert rotate web"];
    assert_eq!(transcript.run_silently(&verify, &expired).exit, 77);
}

#[test]
fn what_is_no_token_or_no_key_is_refused_in_words() {
    let mut transcript = Transcript::alone();
    let foreign = root_key(&[8; 32]).unwrap().public().to_string();
    let verify = |key| ["token", "verify", "--public-key", key, "--uid", "7", "--operation", "cert rotate web"];
    assert_eq!(transcript.run_with_input(&verify(&foreign), &token()).exit, 77);
    assert_eq!(transcript.run_with_input(&verify("ed25519/zz"), &token()).exit, 64);
    assert_eq!(transcript.run_with_input(&verify("rsa/00"), &token()).exit, 64);
    assert_eq!(transcript.run_with_input(&["token", "inspect"], "").exit, 65);
    assert_eq!(transcript.run_with_input(&["token", "inspect"], "AAAA").exit, 65);
    assert_eq!(transcript.run_with_input(&["token", "inspect"], &"A".repeat(9000)).exit, 65);
    assert_eq!(transcript.run(&["token", "inspect", "--token-file", "nowhere"]).exit, 66);
    assert_eq!(
        transcript.run_with_input(&["cert", "revoke", "--serial", crate::answers::SERIAL, "--token-file", "-"], &token()).exit,
        64
    );
    transcript.matches("error-token");
}
