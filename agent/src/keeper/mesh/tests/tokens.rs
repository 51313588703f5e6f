//! Tokens of one host as the other judges them.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reverie_core::audit::Actor;
use reverie_core::config::Identity;
use reverie_core::jwt::{Audience, Purpose, Rejected};
use reverie_core::mesh::collection::{IssuingLimits, TokenKey};
use reverie_core::mesh::crypto::Signer;
use reverie_crypto::aws::SigningKey;
use serde_json::{Value, json};

use super::hosts::{Hosts, settle};
use super::*;
use crate::keeper::mesh::{membership, trust, writing};
use crate::keeper::svid;

fn web() -> Identity {
    let text = "trust_domain = \"example.org\"\n[[identity]]\nname = \"web\"\nmatch = { uid = 1 }\n";
    parse(Source { file: "t", text }, &[]).unwrap().identities.remove(0)
}

fn audience() -> Audience {
    "reports".parse().unwrap()
}

async fn token(at: &Agent) -> String {
    svid::jwt_svid(at, &web(), &[audience()], Actor::Agent).await.unwrap().token.to_string()
}

#[tokio::test]
async fn a_token_of_one_host_counts_on_another_for_its_audience_until_the_host_is_put_out() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let token = token(&member).await;
    let (subject, claims) = svid::validate(&founder, &token, &audience()).unwrap();
    assert_eq!((subject.as_str(), &claims["aud"]), ("spiffe://example.org/svc/web", &json!(["reports"])));
    assert_eq!(svid::validate(&founder, &token, &"others".parse().unwrap()), Err(Rejected::Audience));
    assert_eq!(svid::jwk_sets(&founder, Purpose::JwtSvid), svid::jwk_sets(&member, Purpose::JwtSvid), "the same on all hosts");
    membership::evict(&founder, node("b"), None, Actor::Agent).await.unwrap();
    settle(&founder).await;
    assert_eq!(svid::validate(&founder, &token, &audience()), Err(Rejected::Key));
    let own = self::token(&founder).await;
    assert!(svid::validate(&founder, &own, &audience()).is_ok());
}

#[tokio::test]
async fn a_token_outlives_a_restart_of_its_host_and_its_keys_are_the_same() {
    let hosts = Hosts::new();
    let agent = hosts.start("a", "a").await;
    svid::bring_up_to_date(&agent).await.unwrap();
    let (token, keys) = (token(&agent).await, svid::jwk_sets(&agent, Purpose::JwtSvid));
    agent.close().await;
    let agent = hosts.start("a", "a").await;
    svid::bring_up_to_date(&agent).await.unwrap();
    assert_eq!(svid::jwk_sets(&agent, Purpose::JwtSvid), keys);
    assert!(svid::validate(&agent, &token, &audience()).is_ok());
}

#[tokio::test]
async fn a_host_whose_tokens_say_what_it_may_not_issue_is_not_believed() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let token = token(&member).await;
    let limits =
        IssuingLimits { dns: vec![node("b").to_string()], spiffe: vec!["/svc/db".to_owned()], ..IssuingLimits::default() };
    let draft = Draft::put(Collection::IssuingLimits, node("b").to_string(), &limits).unwrap();
    writing::write(&founder, vec![draft], Change::default()).await.unwrap();
    settle(&founder).await;
    assert_eq!(svid::validate(&founder, &token, &audience()), Err(Rejected::Subject));
    // And its own judge refuses to sign it, once it knows.
    hosts.sync(&founder, &member).await;
    let _ = trust::once(&member, &mut None).await;
    assert!(svid::jwt_svid(&member, &web(), &[audience()], Actor::Agent).await.is_err());
}

/// A token with whatever claims, by a key that the member published itself.
async fn forged(member: &Agent, purpose: Purpose, kid: Option<String>, claims: &Value) -> String {
    let key = SigningKey::generate().unwrap();
    let (public_key, until) = (key.public_key().clone(), clock::now().after(std::time::Duration::from_secs(3600)));
    let value = TokenKey { public_key: public_key.clone(), purpose, until };
    let draft = Draft::put(Collection::SigningKeys, public_key.kid().to_string(), &value).unwrap();
    writing::write(member, vec![draft], Change::default()).await.unwrap();
    let kid = kid.unwrap_or_else(|| public_key.kid().to_string());
    let header = Header { kid: Some(kid), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.to_pkcs8_der().unwrap())).unwrap()
}

#[tokio::test]
async fn keys_of_another_purpose_names_of_other_keys_and_odd_claims_make_no_token_count() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let soon = clock::now().as_secs() + 60;
    let good = json!({ "sub": "spiffe://example.org/svc/web", "aud": "reports", "exp": soon });
    let foreign = json!({ "sub": "spiffe://other.org/svc/web", "aud": "reports", "exp": soon });
    let ended = json!({ "sub": "spiffe://example.org/svc/web", "aud": "reports", "exp": soon - 3600 });
    let another = founder.token_keys.signing(Purpose::JwtSvid, clock::now()).unwrap().record.kid.to_string();
    let cases = [
        (Purpose::JwtSvid, None, &good, Ok(())),
        (Purpose::WitSvid, None, &good, Err(Rejected::Key)),
        (Purpose::JwtSvid, Some(another), &good, Err(Rejected::Signature)),
        (Purpose::JwtSvid, Some("00".repeat(20)), &good, Err(Rejected::Key)),
        (Purpose::JwtSvid, Some("../key".to_owned()), &good, Err(Rejected::Key)),
        (Purpose::JwtSvid, None, &foreign, Err(Rejected::Key)),
        (Purpose::JwtSvid, None, &ended, Err(Rejected::Time)),
    ];
    for (purpose, kid, claims, expected) in cases {
        let token = forged(&member, purpose, kid.clone(), claims).await;
        founder.pull(&member).await;
        let _ = trust::once(&founder, &mut None).await;
        let judged = svid::validate(&founder, &token, &audience()).map(|_| ());
        assert_eq!(judged, expected, "{purpose:?} {kid:?} {claims}");
        let tampered = format!("{}A.{}", token.split_once('.').unwrap().0, token.split_once('.').unwrap().1);
        assert!(svid::validate(&founder, &tampered, &audience()).is_err());
    }
}

#[tokio::test]
async fn who_repeats_anothers_key_does_not_take_its_tokens_away() {
    let hosts = Hosts::new();
    let (founder, member) = hosts.settled().await;
    let own = founder.token_keys.signing(Purpose::JwtSvid, clock::now()).unwrap();
    let until = clock::now().after(std::time::Duration::from_secs(3600));
    // Rightly and as what it is not; whose name comes first does not matter.
    for (at, purpose) in [(&member, Purpose::JwtSvid), (&member, Purpose::WitSvid)] {
        let value = TokenKey { public_key: own.public_key.clone(), purpose, until };
        let draft = Draft::put(Collection::SigningKeys, own.record.kid.to_string(), &value).unwrap();
        writing::write(at, vec![draft], Change::default()).await.unwrap();
        let _ = trust::once(&member, &mut None).await;
        let token = token(&founder).await;
        assert!(svid::validate(&member, &token, &audience()).is_ok(), "{purpose:?}");
    }
    let _ = trust::once(&member, &mut None).await;
    let token = token(&founder).await;
    assert!(svid::validate(&member, &token, &audience()).is_ok());
}

#[tokio::test]
async fn a_wit_svid_is_bound_to_its_key_and_no_bearer_token() {
    let hosts = Hosts::new();
    let agent = hosts.start("a", "a").await;
    svid::bring_up_to_date(&agent).await.unwrap();
    let wit = svid::wit_svid(&agent, &web(), Actor::Agent).await.unwrap();
    let claims = wit.svid.token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap()).unwrap();
    let key = SigningKey::from_pkcs8_der(&wit.key).unwrap();
    let x = data_encoding::BASE64URL_NOPAD.encode(&key.public_key().0[1..33]);
    assert_eq!((&claims["cnf"]["jwk"]["x"], &claims["cnf"]["jwk"]["alg"]), (&json!(x), &json!("ES256")));
    assert_eq!(svid::validate(&agent, &wit.svid.token, &audience()), Err(Rejected::Algorithm));
}
