//! A host that was copied, or put back from a snapshot.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::keeper::mesh::{MeshError, MeshState};

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").args(["-a".as_ref(), from.as_os_str(), to.as_os_str()]).status().unwrap().success());
}

/// A member that wrote on after a snapshot, was heard by the founder, and was put back: the founder, it, and what it wrote.
async fn restored() -> (tempfile::TempDir, Agent, Agent, super::super::Draft) {
    let (directory, founder, member) = two().await;
    let (live, snapshot) = (directory.path().join("b"), directory.path().join("snapshot"));
    member.close().await;
    copy(&live, &snapshot);
    let member = Agent::open(&live, "b").await;
    let said = super::super::keys::own_record(&member, &member.mesh.keys().unwrap().current).unwrap();
    write(&member, vec![said.clone()], Change::default()).await.unwrap();
    founder.pull(&member).await;
    member.close().await;
    copy(&snapshot, &live);
    let restored = Agent::open(&live, "b").await;
    (directory, founder, restored, said)
}

#[tokio::test]
async fn a_host_that_has_just_started_writes_once_a_peer_was_heard_that_claims_nothing() {
    let (directory, founder, member) = two().await;
    member.close().await;
    let member = Agent::open(&directory.path().join("b"), "b").await;
    let short = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(short, write(&member, vec![], Change::default())).await.is_err(), "nobody was heard yet");
    member.pull(&founder).await;
    assert!(tokio::time::timeout(short * 10, write(&member, vec![], Change::default())).await.is_ok());
}

#[tokio::test]
async fn a_host_restored_from_a_snapshot_notices_stops_writing_and_goes_on_by_an_administrators_word() {
    let (directory, founder, restored, said) = restored().await;
    let known = founder.mesh.vector().get(&node("b"));
    assert_eq!(restored.mesh.state(), MeshState::Member);
    assert!(restored.mesh.vector().get(&node("b")) < known);
    let merged = restored.pull(&founder).await;
    assert_eq!(merged.taken, 1, "its own record of before");
    assert_eq!(restored.mesh.state(), MeshState::Cloned);
    assert!(restored.audit().contains("clone-found"));
    assert!(restored.alarms.all().iter().any(|alarm| alarm.message.contains("agentctl mesh resume")));
    let error = write(&restored, vec![said.clone()], Change::default()).await.unwrap_err();
    assert!(matches!(error, MeshError::Cloned), "{error}");
    let told = super::super::clients::require_authority(&restored).unwrap_err().0.advice;
    assert!(told.as_ref().is_some_and(|advice| advice.contains("agentctl mesh resume")), "{told:?}");

    // A restart does not make it forget.
    restored.close().await;
    let restored = Agent::open(&directory.path().join("b"), "b").await;
    assert_eq!(restored.mesh.state(), MeshState::Cloned);

    founding::resume(&restored, Change::default()).await.unwrap();
    assert_eq!(restored.mesh.state(), MeshState::Member);
    write(&restored, vec![said], Change::default()).await.unwrap();
    assert!(restored.mesh.vector().get(&node("b")) > known, "beyond everything that was known of it");
    let merged = founder.pull(&restored).await;
    assert_eq!((merged.taken, merged.refused), (1, vec![]));
}

#[tokio::test]
async fn a_restored_host_that_wrote_before_it_heard_anyone_notices_by_its_own_history() {
    let (_directory, founder, restored, said) = restored().await;
    // The peer's vector alone is only a claim: it asks for its own history.
    let claim = Request::Merge { from: node("a"), records: vec![], vector: founder.mesh.vector(), more: None };
    let Reply::Merged(merged) = restored.ask(claim).await else { panic!() };
    assert_eq!((merged.wanted_anew, restored.mesh.state()), (vec![node("b")], MeshState::Member));
    // It wrote in its new epoch, which hides what came before it: the history shows it all the same.
    write(&restored, vec![said], Change::default()).await.unwrap();
    let mut lacking = restored.mesh.vector();
    lacking.0.remove(&node("b"));
    let (history, _, _) = founder.mesh.records(&lacking, 1 << 20);
    restored.merge(&founder, history).await;
    assert_eq!(restored.mesh.state(), MeshState::Cloned);
}

#[tokio::test]
async fn a_restored_host_that_replaced_all_it_lost_is_told_by_whoever_had_it() {
    let (_directory, founder, restored, said) = restored().await;
    // Nobody is heard in time; the same is said again, and takes the place of what was lost.
    write(&restored, vec![said], Change::default()).await.unwrap();
    founder.pull(&restored).await;
    assert_eq!(founder.mesh.vector(), restored.mesh.vector());
    assert!(founder.alarms.all().iter().any(|alarm| alarm.message.contains("two histories")));
    let ask = Request::Records { to: node("b"), since: Some(restored.mesh.vector()), limit: 1 << 20 };
    let Reply::Page(page) = founder.ask(ask).await else { panic!() };
    restored.merge(&founder, page.records).await;
    assert_eq!(restored.mesh.state(), MeshState::Cloned);
    // Once resumed it hears the same without end, and goes on.
    founding::resume(&restored, Change::default()).await.unwrap();
    let Reply::Page(page) = founder.ask(Request::Records { to: node("b"), since: None, limit: 1 << 20 }).await else { panic!() };
    restored.merge(&founder, page.records).await;
    assert_eq!(restored.mesh.state(), MeshState::Member);
}

#[tokio::test]
async fn a_peer_that_only_claims_to_know_more_of_us_does_not_stop_us() {
    let (_directory, _founder, member) = two().await;
    let mut vector = VersionVector::default();
    vector.advance(&node("b"), reverie_core::mesh::vector::Position { epoch: u64::MAX, seq: 1 });
    let request = Request::Merge { from: node("a"), records: vec![], vector, more: None };
    assert!(matches!(member.ask(request).await, Reply::Merged(_)));
    assert_eq!(member.mesh.state(), MeshState::Member);
    write(&member, vec![], Change::default()).await.unwrap();
}

#[tokio::test]
async fn an_epoch_is_new_at_every_start_even_if_nothing_was_written_and_the_clock_stands_still() {
    let (directory, _founder, member) = two().await;
    let epoch = |agent: &Agent| agent.mesh.read().core.as_ref().unwrap().author.position().epoch;
    let mut last = epoch(&member);
    member.close().await;
    for _ in 0..3 {
        let member = Agent::open(&directory.path().join("b"), "b").await;
        let now = epoch(&member);
        assert!(now > last);
        last = now;
        member.close().await;
    }
    // As with a clock that was set back: the store alone decides.
    let state = State::open(options(directory.path().join("b/state")), &Zeroizing::new([7; 32])).unwrap();
    let held = super::super::rows::load(&state, &node("b"), reverie_core::moment::Moment::from_secs(1)).await.unwrap();
    assert!(held.core.unwrap().author.position().epoch > last);
    tokio::task::spawn_blocking(move || state.close()).await.unwrap();
}
