//! The identities of a process, each with the generation it gets.

use std::sync::Arc;

use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::config::Identity;

use super::feed::no_identity;
use crate::keeper::identity::issuance::subject;
use crate::keeper::identity::rotation;
use crate::keeper::identity::store::Generation;
use crate::keeper::local::answer::Failure;
use crate::keeper::local::identities::judged;
use crate::keeper::local::peer::Peer;
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// The declarations of the identities that the caller has now, the default first; at least one.
pub(super) async fn identities(keeper: &Keeper, peer: &Peer) -> Result<Vec<Identity>, Failure> {
    peer.check_alive()?;
    let policy = keeper.policy();
    let own = judged(keeper, peer, &policy).await?;
    let declared = own.iter().filter_map(|rule| policy.identities.get(&rule.name));
    let declared: Vec<Identity> = declared.map(|identity| identity.declared.clone()).collect();
    if declared.is_empty() { Err(no_identity()) } else { Ok(declared) }
}

/// The current generation of one, made if there is none. Never a revoked one.
pub(super) async fn generation(keeper: &Arc<Keeper>, peer: &Peer, identity: &Identity) -> Result<Arc<Generation>, Failure> {
    Ok(rotation::current_or_new(keeper, &identity.name, Actor::from(&peer.caller)).await?)
}

/// Makes it durable that these keys are handed out, all in one transaction; then looks whether they still may be.
pub(super) async fn record(
    keeper: &Keeper,
    peer: &Peer,
    handed: &[(&Identity, &Generation)],
    reason: &'static str,
) -> Result<(), Failure> {
    if !handed.is_empty() {
        let events = handed.iter().map(|(identity, generation)| Event {
            time: clock::now(),
            kind: Kind::CertificateRead,
            outcome: Outcome::Done,
            actor: Actor::from(&peer.caller),
            subject: Subject { serial: Some(generation.serial.to_string()), ..subject(identity) },
            reason: Some(reason.to_owned()),
        });
        keeper.commit(Change { writes: vec![], events: events.collect() }).await?;
    }
    peer.check_alive()
}

/// False if it was revoked or replaced while it was rendered and recorded.
pub(super) fn is_current(keeper: &Keeper, generation: &Generation) -> bool {
    keeper.store.current(&generation.identity).is_some_and(|kept| kept.serial == generation.serial && !kept.revoked)
}
