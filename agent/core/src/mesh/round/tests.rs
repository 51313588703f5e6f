//! The machine by itself.

use std::time::Duration;

use super::{Effect, ExchangeId, Inbound, Outcome, Round, RoundSettings, Synced};
use crate::id::NodeId;
use crate::moment::Moment;

const SETTINGS: RoundSettings = RoundSettings {
    slide_ms: 20,
    slide_max_ms: 150,
    anti_entropy_ms: 1000,
    fan_out_all: 16,
    back_off_max_ms: 60_000,
    exchange_ms: 10_000,
};

fn node(number: usize) -> NodeId {
    format!("h{number:03}.example").parse().unwrap()
}

fn at(ms: i64) -> Moment {
    Moment::from_millis(1_800_000_000_000 + ms)
}

/// A machine among that many hosts, what it does first answered by "equal".
fn among(hosts: usize) -> Round {
    let mut round = Round::new(node(0), 1, SETTINGS, [7; 32], at(0));
    round.handle_peers(at(0), &(0..hosts).map(node).collect::<Vec<_>>());
    for (to, exchange, _) in exchanges(&mut round) {
        round.handle_exchange(at(0), &to, exchange, Outcome::Equal);
    }
    round
}

/// Exchanges asked for since the last call; `true`: a push.
fn exchanges(round: &mut Round) -> Vec<(NodeId, ExchangeId, bool)> {
    let effects = std::iter::from_fn(|| round.poll());
    let exchanges = effects.filter_map(|effect| match effect {
        Effect::Push { to, exchange } => Some((to, exchange, true)),
        Effect::Probe { to, exchange } => Some((to, exchange, false)),
        _ => None,
    });
    exchanges.collect()
}

fn pushes(round: &mut Round) -> usize {
    exchanges(round).into_iter().filter(|(_, _, push)| *push).count()
}

#[test]
fn up_to_sixteen_hosts_everyone_is_told_at_once() {
    let mut round = among(16);
    round.handle_local_change(at(5));
    assert_eq!(pushes(&mut round), 15);
}

#[test]
fn beyond_sixteen_hosts_twice_the_logarithm_is_told() {
    for (hosts, told) in [(17, 6), (100, 10), (1000, 14)] {
        let mut round = among(hosts);
        round.handle_local_change(at(5));
        assert_eq!(pushes(&mut round), told, "{hosts}");
    }
}

#[test]
fn what_a_peer_told_is_forwarded_among_many_but_never_back() {
    for teller in 1..40 {
        let mut round = among(40);
        round.handle_merged(at(5), &node(teller), Inbound { taken: 1, equal: true, asks: false });
        let told = exchanges(&mut round);
        assert_eq!(told.len(), 8);
        assert!(told.iter().all(|(to, ..)| *to != node(teller)));
    }
    let mut round = among(10);
    round.handle_merged(at(5), &node(3), Inbound { taken: 1, equal: true, asks: false });
    assert_eq!(exchanges(&mut round), [], "among few the author tells everyone");
}

#[test]
fn what_changes_during_an_exchange_is_pushed_after_it() {
    let mut round = among(2);
    round.handle_local_change(at(5));
    let [(to, exchange, true)] = &exchanges(&mut round)[..] else { panic!() };
    round.handle_local_change(at(6));
    round.handle_timer(at(30));
    assert_eq!(pushes(&mut round), 0, "one at a time");
    round.handle_exchange(at(31), to, *exchange, Outcome::Synced(Synced::default()));
    assert_eq!(pushes(&mut round), 1);
}

#[test]
fn a_late_answer_to_an_exchange_that_was_given_up_changes_nothing() {
    let mut round = among(2);
    round.handle_local_change(at(5));
    let [(to, exchange, true)] = &exchanges(&mut round)[..] else { panic!() };
    round.handle_timer(at(10_005));
    assert!(std::iter::from_fn(|| round.poll()).any(|effect| matches!(effect, Effect::Abandon { .. })));
    assert_eq!(round.peer(to).unwrap().failures, 1);
    round.handle_exchange(at(10_006), to, *exchange, Outcome::Equal);
    assert_eq!(round.peer(to).unwrap().failures, 1);
}

#[test]
fn a_failing_peer_is_tried_with_growing_pauses_and_at_once_when_told_so() {
    let mut round = among(2);
    round.handle_local_change(at(0));
    let (mut now, mut pauses) = (at(0), Vec::new());
    for _ in 0..12 {
        let (to, exchange, _) = exchanges(&mut round).pop().unwrap();
        round.handle_exchange(now, &to, exchange, Outcome::Failed);
        let until = round.peer(&to).unwrap().not_before.unwrap();
        pauses.push(until.since(now));
        now = until;
        round.handle_timer(now);
    }
    assert!(pauses[0] >= Duration::from_millis(125) && pauses[0] <= Duration::from_millis(250));
    assert!(pauses[11] >= Duration::from_secs(30) && pauses[11] <= Duration::from_secs(60));
    let (to, exchange, _) = exchanges(&mut round).pop().unwrap();
    round.handle_exchange(now, &to, exchange, Outcome::Failed);
    round.retry_now(now);
    assert_eq!(exchanges(&mut round).len(), 1);
}

#[test]
fn pages_follow_each_other_as_long_as_they_bring_something() {
    let mut round = among(2);
    round.handle_local_change(at(0));
    let page = Synced { taken: 0, more: true, progressed: true, equal: false };
    for _ in 0..20 {
        let (to, exchange, push) = exchanges(&mut round).pop().unwrap();
        assert!(push);
        round.handle_exchange(at(1), &to, exchange, Outcome::Synced(page));
    }
    let (to, exchange, _) = exchanges(&mut round).pop().unwrap();
    round.handle_exchange(at(1), &to, exchange, Outcome::Synced(Synced { progressed: false, ..page }));
    assert_eq!(exchanges(&mut round), []);
    assert_eq!(round.peer(&to).unwrap().failures, 1);
}

#[test]
fn the_machine_never_asks_to_be_woken_in_the_past() {
    let mut round = among(30);
    for step in 0..5000 {
        let now = round.wake().max(at(step));
        round.handle_timer(now);
        for (place, (to, exchange, _)) in exchanges(&mut round).into_iter().enumerate() {
            let outcome = if (place as i64 + step) % 3 == 0 { Outcome::Failed } else { Outcome::Differs };
            round.handle_exchange(now, &to, exchange, outcome);
        }
        assert!(round.wake() > now || round.wake() == now && step == 0, "step {step}");
    }
}

#[test]
fn whoever_leaves_the_list_is_forgotten_and_what_runs_with_it_abandoned() {
    let mut round = among(4);
    round.handle_local_change(at(0));
    let _ = exchanges(&mut round);
    round.handle_peers(at(1), &[node(1), node(3)]);
    let gone: Vec<_> = std::iter::from_fn(|| round.poll()).filter(|effect| matches!(effect, Effect::Abandon { .. })).collect();
    assert!(matches!(&gone[..], [Effect::Abandon { to, .. }] if *to == node(2)));
    assert_eq!(round.peer(&node(2)), None);
}

#[test]
fn the_same_calls_give_the_same_effects() {
    let effects = [(); 2].map(|()| {
        let mut round = among(50);
        let mut effects = Vec::new();
        for step in 0..300 {
            round.handle_local_change(at(step * 10));
            round.handle_timer(at(step * 10));
            effects.extend(std::iter::from_fn(|| round.poll()));
        }
        effects
    });
    assert_eq!(effects[0], effects[1]);
}
