//! Between the view and this host's authority: what the mesh says of trust takes effect here, and what this host's issuers did
//! is said in the mesh. Both at once, and then no more often than a few times a second.

use std::sync::Arc;
use std::time::Duration;

use reverie_core::mesh::collection::Collection;
use reverie_core::mesh::view::View;

use super::{Draft, Keeper, MeshError, MeshState, clock, writing};
use crate::keeper::identity::duties;
use crate::keeper::identity::lifecycle::LifecycleError;
use crate::keeper::identity::spread::{self, Said};
use crate::keeper::identity::trust::MeshTrust;
use crate::keeper::state::{Change, StateError};

/// Changes that come sooner are taken together.
const PAUSE: Duration = Duration::from_millis(150);
/// Things end, and holders of issuers fall silent, without a change of the view.
const AT_LATEST: Duration = Duration::from_secs(5);
/// What this host says of its issuers.
const SUBJECTS: [Collection; 5] =
    [Collection::Revocations, Collection::Bundles, Collection::Intermediates, Collection::Crls, Collection::SigningKeys];
/// Subject of the alarm that it could not be followed, or said.
const SUBJECT: &str = "mesh, certificates";
/// Records, and bytes of them, in one transaction.
const AT_ONCE: (usize, usize) = (256, 1 << 20);

/// For as long as the agent runs.
pub(super) async fn follow(keeper: Arc<Keeper>) {
    let (mut views, mut issuers, mut token_keys) = (keeper.mesh.watch(), keeper.watch_issuers(), keeper.token_keys.watch());
    let mut said: Option<([u8; 16], Said)> = None;
    loop {
        views.mark_unchanged();
        issuers.mark_unchanged();
        token_keys.mark_unchanged();
        super::room::look(&keeper);
        super::show_suspects(&keeper);
        match once(&keeper, &mut said).await {
            Ok(findings) if findings.is_empty() => keeper.alarms.clear(SUBJECT),
            Ok(findings) => keeper.alarms.raise(SUBJECT, findings.join("; ")),
            Err(error) => keeper.alarms.raise(SUBJECT, error.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            _ = views.changed() => {}
            changed = issuers.changed() => if changed.is_err() { return },
            _ = token_keys.changed() => {}
            () = tokio::time::sleep(AT_LATEST) => {}
        }
    }
}

pub(super) async fn once(keeper: &Arc<Keeper>, said: &mut Option<([u8; 16], Said)>) -> Result<Vec<String>, MeshError> {
    let failed = |error: LifecycleError| MeshError::Lifecycle(Box::new(error));
    match keeper.mesh.state() {
        MeshState::None | MeshState::Joining | MeshState::Left => {
            *said = None;
            duties::follow(keeper, MeshTrust::default()).await.map_err(failed)?;
            return Ok(vec![]);
        }
        MeshState::Member | MeshState::Authority | MeshState::Evicted | MeshState::Cloned => {}
    }
    let own = Arc::clone(keeper);
    // Certificates that are new are verified: not on the threads that serve.
    let look = tokio::task::spawn_blocking(move || {
        let before = Arc::clone(&own.issuers().mesh);
        let (node, domain, now) = (&own.host.node_id, &own.host.trust_domain, clock::now());
        own.mesh.look(|view| MeshTrust::of(view, node, domain, &before, now))
    });
    if let Some(trust) = look.await.map_err(|_| StateError::Closed)? {
        duties::follow(keeper, trust).await.map_err(failed)?;
    }
    match keeper.mesh.state() {
        MeshState::Member | MeshState::Authority => say(keeper, said).await,
        _ => Ok(vec![]),
    }
}

async fn say(keeper: &Arc<Keeper>, said: &mut Option<([u8; 16], Said)>) -> Result<Vec<String>, MeshError> {
    let Some(mesh) = keeper.mesh.id() else { return Ok(vec![]) };
    let before = match said.take().filter(|(of, _)| *of == mesh) {
        Some((_, before)) => before,
        None => keeper.mesh.look(|view| said_before(view, keeper)).unwrap_or_default(),
    };
    let (state, issuers, node) = (keeper.state.clone(), keeper.issuers(), keeper.host.node_id.clone());
    let keys = keeper.token_keys.current();
    let work = tokio::task::spawn_blocking(move || spread::own_records(&state, &issuers, &keys, &node, clock::now()));
    let spread = work.await.map_err(|_| StateError::Closed)??;
    let differences = spread.differences(&before).into_iter();
    let drafts: Vec<Draft> = differences.map(|(collection, key, value)| Draft { collection, key, value }).collect();
    let (drafts, too_much) = super::room::without_what_is_too_much(keeper, drafts);
    // Until all of it is written, what was said is not known.
    for some in in_parts(drafts) {
        writing::write(keeper, some, Change::default()).await?;
    }
    *said = Some((mesh, spread.said));
    Ok(spread.findings.into_iter().chain(too_much).collect())
}

fn said_before(view: &View<'_>, keeper: &Keeper) -> Said {
    let of = |collection: Collection| {
        let own = view.entries(collection).filter(|value| *value.author == keeper.host.node_id);
        own.map(move |value| ((collection, value.key.to_owned()), value.bytes.to_vec()))
    };
    SUBJECTS.into_iter().flat_map(of).collect()
}

fn in_parts(drafts: Vec<Draft>) -> Vec<Vec<Draft>> {
    let (mut parts, mut bytes) = (vec![], 0);
    for draft in drafts {
        let more = draft.value.as_ref().map_or(0, Vec::len);
        match parts.last_mut() {
            Some(part) if Vec::len(part) < AT_ONCE.0 && bytes + more <= AT_ONCE.1 => {
                bytes += more;
                part.push(draft);
            }
            _ => {
                bytes = more;
                parts.push(vec![draft]);
            }
        }
    }
    parts
}
