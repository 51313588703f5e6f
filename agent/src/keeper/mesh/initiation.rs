//! The first host of a mesh.

use std::sync::Arc;

use reverie_core::api::mesh::InitRequest;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};
use reverie_core::ca::Role;
use reverie_core::mesh::collection::Collection;
use reverie_core::mesh::membership::Refusal;

use super::trouble::Trouble;
use super::writing::Draft;
use super::{MeshError, founding, wrapping};
use crate::keeper::identity::{membership as issuing, spread};
use crate::keeper::state::Change;
use crate::keeper::{Keeper, clock};

/// Founds a mesh: this host's keys, its admission as the first authority, its own record, its roots and intermediates, and
/// the first version of the wrapping key, in one transaction.
pub async fn init(keeper: &Arc<Keeper>, request: InitRequest, actor: Actor) -> Result<(), Trouble> {
    let _turn = keeper.mesh.affairs.joining_turn().await?;
    if keeper.mesh.state().is_in() {
        return Err(MeshError::AlreadyIn.into());
    }
    let ours = &keeper.host.trust_domain;
    if let Some(theirs) = request.trust_domain.filter(|theirs| theirs != ours.as_str()) {
        let shown: String = theirs.chars().take(255).collect();
        let message = format!("this host is configured for the trust domain {ours}, not for {shown:?}");
        return Err(Refusal::new(409, message, "set trust_domain in agent.toml, or leave the option out").into());
    }
    // What another mesh had signed ends here.
    if keeper.issuers().stored.record.membership.role != Role::Own {
        issuing::leave(keeper, actor.clone()).await?;
    }
    let now = clock::now();
    let issued = spread::own_records(&keeper.state, &keeper.issuers(), &keeper.token_keys.current(), &keeper.host.node_id, now)?;
    if !issued.said.keys().any(|(collection, _)| *collection == Collection::Bundles) {
        let advice = "agentctl status shows what is wrong with the certificate authority";
        return Err(Trouble::unavailable("this host has no root yet", advice));
    }
    let (version, write) = wrapping::first(now)?;
    let issued = issued.differences(&spread::Said::new()).into_iter();
    let drafts = issued.map(|(collection, key, value)| Draft { collection, key, value }).chain([version]).collect();
    let subject = Subject { object: Some(keeper.host.node_id.to_string()), ..Subject::default() };
    let (kind, outcome) = (Kind::MeshFounded, Outcome::Done);
    let event = Event { time: now, kind, outcome, actor, subject, reason: Some(format!("trust domain {ours}")) };
    founding::found(keeper, drafts, Change { writes: vec![write], events: vec![event] }).await?;
    wrapping::say_version(keeper);
    Ok(())
}
