use std::collections::BTreeMap;

use super::*;
use crate::mesh::author::Author;
use crate::mesh::collection::{Admission, Collection, Eviction, HostKey, Node, key};
use crate::mesh::fake::{Fake, fake};
use crate::mesh::set::{Anchor, Limits, Offered, Set};
use crate::moment::Moment;

const NOW: Moment = Moment::from_secs(1_800_000_000);

/// A mesh as one host has it: `first` founded it, and everyone signs with the key of its byte.
struct Scene {
    set: Set,
    authors: BTreeMap<NodeId, Author>,
}

fn node(name: &str) -> NodeId {
    format!("{name}.example.org").parse().unwrap()
}

fn kem(byte: u8) -> KemPublicKey {
    KemPublicKey(Box::new([byte; 1184]))
}

impl Scene {
    fn founded() -> Self {
        let anchor = Anchor { node: node("first"), key: fake(1).0 };
        let mut scene = Self { set: Set::new(anchor, Limits::default()), authors: BTreeMap::new() };
        scene.admit("first", 1, "first", 1, Standing::Authority, "founding");
        scene
    }

    fn say(&mut self, by: &str, with: u8, collection: Collection, key: &str, value: Vec<u8>) {
        let author = self.authors.entry(node(by)).or_insert_with(|| Author::start(node(by), &self.set, NOW));
        let record = author.write(collection, key, Some(value), NOW, &fake(with)).unwrap();
        let taken = self.set.offer(&record.to_bytes(), &fake(0));
        assert!(matches!(taken, Offered::Taken { .. }), "{taken:?}");
    }

    fn admit(&mut self, by: &str, with: u8, who: &str, byte: u8, standing: Standing, how: &str) {
        let admission = Admission {
            node: node(who),
            signing_key: fake(byte).0,
            kem_key: Some(kem(byte)),
            standing,
            by: how.to_owned(),
            despite: Default::default(),
        };
        let key = key::admission(&node(who), &fake(byte).0.kid());
        self.say(by, with, Collection::Admissions, &key, minicbor::to_vec(&admission).unwrap());
    }

    fn evict(&mut self, by: &str, with: u8, who: &str) {
        let (keys, upheld, heard) = Default::default();
        let eviction = Eviction { node: node(who), keys, reason: "lost".to_owned(), left: false, upheld, heard };
        self.say(by, with, Collection::Evictions, &key::eviction(&node(who), &node(by)), minicbor::to_vec(&eviction).unwrap());
    }

    /// With a member, `web`, by token.
    fn with_web() -> Self {
        let mut scene = Self::founded();
        scene.admit("first", 1, "web", 2, Standing::Member, "token");
        scene
    }

    fn view(&self) -> View<'_> {
        View::of(&self.set, NOW)
    }
}

fn status<T: fmt::Debug>(judged: Result<T, Refusal>) -> u16 {
    judged.unwrap_err().status
}

#[test]
fn a_member_cannot_invite_evict_or_promote_and_is_told_who_can() {
    let scene = Scene::with_web();
    let (view, web) = (scene.view(), node("web"));
    for judged in [
        invite(&view, &web, &node("new"), false, true),
        evict(&view, &web, &node("first")),
        promote(&view, &web, &web),
        lead(&view, &web, "rotate the wrapping key"),
    ] {
        let refusal = judged.unwrap_err();
        assert_eq!(refusal.status, 403);
        assert!(refusal.to_string().contains("takes an authority"), "{refusal}");
        assert!(refusal.advice.contains("first.example.org"), "{refusal}");
    }
    assert_eq!(status(invite(&view, &node("stranger"), &node("new"), false, true)), 403);
}

#[test]
fn a_host_is_invited_once_and_comes_back_by_readmission_only() {
    let mut scene = Scene::with_web();
    let first = node("first");
    assert_eq!(invite(&scene.view(), &first, &node("new"), false, true), Ok(()));
    assert_eq!(status(invite(&scene.view(), &first, &first, false, true)), 409, "itself");
    assert_eq!(status(invite(&scene.view(), &first, &node("new"), true, true)), 404, "was never in");
    assert_eq!(status(invite(&scene.view(), &first, &node("web"), false, true)), 409, "is in");
    assert_eq!(invite(&scene.view(), &first, &node("web"), true, true), Ok(()), "lost its disk");
    assert_eq!(
        status(invite(&scene.view(), &first, &node("web"), true, false)),
        409,
        "is not on the list: nothing would let it in"
    );
    scene.evict("first", 1, "web");
    let refusal = invite(&scene.view(), &first, &node("web"), false, true).unwrap_err();
    assert!(
        refusal.to_string().contains("put out by first.example.org: lost; if it is to come back: agentctl mesh readmit"),
        "{refusal}"
    );
    assert_eq!(invite(&scene.view(), &first, &node("web"), true, true), Ok(()));
}

#[test]
fn a_joiner_with_the_keys_of_an_existing_host_is_refused() {
    let scene = Scene::with_web();
    let view = scene.view();
    let judged = |node: &NodeId, signing: u8, kem_byte: u8| admit(&view, node, &fake(signing).0, &kem(kem_byte), false, true);
    assert_eq!(judged(&node("new"), 3, 3), Ok(()));
    assert_eq!(status(judged(&node("new"), 2, 3)), 409, "web's signing key");
    assert_eq!(status(judged(&node("new"), 3, 2)), 409, "web's KEM key");
    assert_eq!(status(judged(&node("new"), 3, 1)), 409, "the founder's KEM key");
    let refusal = judged(&node("web"), 3, 3).unwrap_err();
    assert!(refusal.to_string().contains("in the mesh already, with other keys"), "{refusal}");
}

#[test]
fn a_host_that_was_put_out_comes_back_with_a_readmission_and_new_keys_only() {
    let mut scene = Scene::with_web();
    scene.evict("first", 1, "web");
    let view = scene.view();
    let judged = |byte: u8, again| admit(&view, &node("web"), &fake(byte).0, &kem(byte), again, true);
    assert_eq!(status(judged(3, false)), 403, "readmission without eviction of the old keys is none");
    assert_eq!(status(judged(2, true)), 409, "the keys that were put out do not come back");
    assert_eq!(judged(3, true), Ok(()));
}

#[test]
fn a_host_that_is_not_on_the_list_is_not_admitted() {
    let scene = Scene::founded();
    assert_eq!(status(admit(&scene.view(), &node("new"), &fake(3).0, &kem(3), false, false)), 403);
}

#[test]
fn a_host_does_not_evict_itself_a_stranger_or_one_that_is_out() {
    let mut scene = Scene::with_web();
    let first = node("first");
    let refusal = evict(&scene.view(), &first, &first).unwrap_err();
    assert!(refusal.to_string().contains("agentctl mesh leave"), "{refusal}");
    assert_eq!(status(evict(&scene.view(), &first, &node("stranger"))), 404);
    assert_eq!(evict(&scene.view(), &first, &node("web")), Ok(()));
    scene.evict("first", 1, "web");
    assert_eq!(status(evict(&scene.view(), &first, &node("web"))), 409);
}

#[test]
fn an_eviction_cannot_be_undone_by_whom_it_puts_out() {
    let mut scene = Scene::with_web();
    scene.admit("first", 1, "web", 2, Standing::Authority, "promotion");
    scene.evict("first", 1, "web");
    // It knows a key that was an authority's once, so the set takes what it says; the view does not.
    scene.admit("web", 2, "web", 4, Standing::Authority, "token");
    scene.admit("web", 2, "web", 2, Standing::Authority, "promotion");
    assert_eq!(scene.view().members().get(&node("web")).unwrap().standing, None);
    assert!(evict(&scene.view(), &node("web"), &node("first")).is_err());
}

#[test]
fn the_last_authority_stays_while_others_need_one() {
    let mut scene = Scene::with_web();
    let refusal = leave(&scene.view(), &node("first")).unwrap_err();
    assert!(
        refusal.to_string().contains("last authority") && refusal.advice.contains("mesh promote web.example.org"),
        "{refusal}"
    );
    assert_eq!(leave(&scene.view(), &node("web")), Ok(()));
    assert_eq!(leave(&Scene::founded().view(), &node("first")), Ok(()), "alone");
    scene.admit("first", 1, "web", 2, Standing::Authority, "promotion");
    assert_eq!(leave(&scene.view(), &node("first")), Ok(()));
}

#[test]
fn a_member_is_promoted_once() {
    let mut scene = Scene::with_web();
    let first = node("first");
    assert_eq!(promote(&scene.view(), &first, &node("web")), Ok(()));
    scene.admit("first", 1, "web", 2, Standing::Authority, "promotion");
    assert_eq!(status(promote(&scene.view(), &first, &node("web"))), 409);
    assert_eq!(status(promote(&scene.view(), &first, &node("stranger"))), 404);
}

fn claim<'a>(principal: &'a str, node: &'a NodeId, keys: &'a (Fake, KemPublicKey)) -> Claim<'a> {
    Claim { principal, node, signing: &keys.0.0, kem: &keys.1 }
}

#[test]
fn only_the_http_service_of_a_host_in_our_realm_registers_it() {
    let (web, keys) = (node("web"), (fake(3), kem(3)));
    let judged = |name: &str, realm| principal(claim(name, &web, &keys), realm);
    assert_eq!(judged("HTTP/web.example.org@EXAMPLE.ORG", "EXAMPLE.ORG"), Ok(()));
    assert_eq!(judged("HTTP/WEB.example.org@EXAMPLE.ORG", "EXAMPLE.ORG"), Ok(()), "host names know no case");
    for other in [
        "alice@EXAMPLE.ORG",
        "host/web.example.org@EXAMPLE.ORG",
        "HTTP/db.example.org@EXAMPLE.ORG",
        "HTTP/web.example.org@OTHER.ORG",
        "HTTP/web.example.org@example.org",
        "HTTP/web.example.org",
        "HTTP/@EXAMPLE.ORG",
        "HTTP/web.example.org/x@EXAMPLE.ORG",
        "HTTP/web.example.org\\@EXAMPLE.ORG@EXAMPLE.ORG",
        "",
    ] {
        assert_eq!(status(judged(other, "EXAMPLE.ORG")), 403, "{other}");
    }
}

#[test]
fn a_registration_is_fresh_or_a_new_signing_key_or_nothing() {
    let mut scene = Scene::with_web();
    scene.admit("first", 1, "krb", 5, Standing::Member, "kerberos");
    let judged = |scene: &Scene, who: &str, signing, kem_byte, allowed| {
        let (who, keys) = (node(who), (fake(signing), kem(kem_byte)));
        register(&scene.view(), claim("", &who, &keys), allowed)
    };
    assert_eq!(judged(&scene, "new", 3, 3, true), Ok(Registration::Fresh));
    assert_eq!(judged(&scene, "krb", 5, 5, true), Ok(Registration::Nothing));
    assert_eq!(judged(&scene, "krb", 6, 5, true), Ok(Registration::SigningKeyOnly));
    assert_eq!(status(judged(&scene, "krb", 5, 6, true)), 409, "another KEM key for a known host, never an overwrite");
    assert_eq!(status(judged(&scene, "krb", 6, 6, true)), 409);
    assert_eq!(status(judged(&scene, "krb", 2, 5, true)), 409, "web's signing key");
    assert_eq!(status(judged(&scene, "new", 2, 3, true)), 409, "web's signing key, for a host that is new");
    assert_eq!(status(judged(&scene, "new", 3, 3, false)), 403);
    assert_eq!(status(judged(&scene, "krb", 5, 5, false)), 403);
    scene.evict("first", 1, "krb");
    assert_eq!(status(judged(&scene, "krb", 7, 7, true)), 403, "put out: by readmission only");
}

#[test]
fn a_keytab_does_not_take_over_a_host_that_came_by_token_or_an_authority() {
    let mut scene = Scene::with_web();
    let keys = (fake(6), kem(2));
    assert_eq!(status(register(&scene.view(), claim("", &node("web"), &keys), true)), 409);
    let keys = (fake(6), kem(1));
    assert_eq!(status(register(&scene.view(), claim("", &node("first"), &keys), true)), 409);
    scene.admit("first", 1, "krb", 5, Standing::Member, "kerberos");
    scene.admit("first", 1, "krb", 5, Standing::Authority, "promotion");
    let keys = (fake(6), kem(5));
    assert_eq!(status(register(&scene.view(), claim("", &node("krb"), &keys), true)), 409);
}

#[test]
fn the_key_before_is_good_to_speak_with_until_the_host_says_otherwise_or_is_put_out() {
    let mut scene = Scene::with_web();
    let next = HostKey {
        signing_key: fake(7).0,
        kem_key: kem(7),
        previous: fake(2).0.kid(),
        proof: [0; 64],
        upheld: Default::default(),
    };
    let key = key::host_key(&node("web"), &fake(7).0.kid());
    let mut proven = next.clone();
    proven.proof =
        crate::mesh::crypto::Signer::sign(&fake(7), &crate::mesh::record::host_key_bytes(&node("web"), &next)).unwrap();
    scene.say("web", 2, Collection::HostKeys, &key, minicbor::to_vec(&proven).unwrap());
    let speaks = |scene: &mut Scene, byte: u8| {
        let record = Node {
            addresses: vec![],
            agent_version: "1".into(),
            wire: 1,
            signing_kid: fake(byte).0.kid(),
            kem_kid: kem(byte).kid(),
            wrapping_key: None,
        };
        scene.say("web", 7, Collection::Nodes, "web.example.org", minicbor::to_vec(&record).unwrap());
        scene.view().host(&node("web")).unwrap().keys.iter().map(|key| key.signing_key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(speaks(&mut scene, 2), [fake(2).0, fake(7).0], "the one it speaks with first");
    assert_eq!(speaks(&mut scene, 7), [fake(7).0]);
    assert_eq!(speaks(&mut scene, 2), [fake(2).0, fake(7).0]);
    assert_eq!(status(admit(&scene.view(), &node("new"), &fake(3).0, &kem(2), false, true)), 409, "the KEM key before is taken");
    scene.evict("first", 1, "web");
    assert_eq!(scene.view().host(&node("web")).unwrap().keys, []);
}
