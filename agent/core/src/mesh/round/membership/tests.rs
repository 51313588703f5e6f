//! What others may make us believe, and what not.

use foca::{Header, Member, Message, State};

use super::datagram::Datagram;
use super::identity::{Incarnate, NodeTag};
use super::{Effect, Liveness, Membership};
use crate::id::NodeId;
use crate::moment::Moment;

fn node(name: &str) -> NodeId {
    format!("{name}.example").parse().unwrap()
}

fn at(ms: i64) -> Moment {
    Moment::from_millis(1_800_000_000_000 + ms)
}

fn id(name: &str, epoch: u64) -> Incarnate {
    Incarnate { node: NodeTag::of(&node(name)), epoch }
}

fn ours() -> Membership {
    let mut membership = Membership::new(&node("us"), 5, [1; 32], at(0));
    membership.handle_peers(at(0), [node("a"), node("b")].iter());
    membership.drain();
    membership
}

fn said(src: Incarnate, message: Message<Incarnate>, updates: Vec<Member<Incarnate>>) -> Vec<u8> {
    let header = Header { src, src_incarnation: 0, dst: id("us", 0), message };
    Datagram { header, updates }.to_bytes().unwrap()
}

#[test]
fn a_peer_that_knows_no_epoch_is_answered() {
    let mut us = ours();
    us.handle(at(1), &node("a"), &said(id("a", 9), Message::Ping(3), vec![]));
    let (effects, news) = us.drain();
    assert!(matches!(&effects[..], [Effect::Datagram { to, .. }] if *to == node("a")));
    assert_eq!(news, [(node("a"), Liveness::Alive)]);
}

#[test]
fn a_peer_cannot_speak_for_another() {
    let mut us = ours();
    us.handle(at(1), &node("b"), &said(id("a", 9), Message::Ping(3), vec![]));
    us.handle(at(1), &node("stranger"), &said(id("stranger", 9), Message::Ping(3), vec![]));
    assert_eq!(us.drain(), (vec![], vec![]));
}

#[test]
fn hosts_that_are_not_in_the_view_are_not_believed_in() {
    let mut us = ours();
    let invented = (0..30).map(|n| Member::alive(id(&format!("invented{n}"), 4))).collect();
    us.handle(at(1), &node("a"), &said(id("a", 9), Message::Gossip, invented));
    assert_eq!(us.drain().1, [(node("a"), Liveness::Alive)]);
    assert_eq!(us.foca.num_members(), 2);
}

#[test]
fn an_invented_later_life_of_ours_is_outbid_and_one_at_the_end_of_numbers_ignored() {
    let mut us = ours();
    us.handle(at(1), &node("a"), &said(id("a", 9), Message::Gossip, vec![Member::down(id("us", u64::MAX))]));
    assert_eq!(us.foca.identity().epoch, 5);
    us.handle(at(2), &node("a"), &said(id("a", 9), Message::Gossip, vec![Member::down(id("us", 77))]));
    assert_eq!(us.foca.identity().epoch, 78);
    us.handle(at(3), &node("a"), &said(id("a", 9), Message::Gossip, vec![Member::down(id("us", 99))]));
    assert_eq!(us.foca.identity().epoch, 78, "not twice within half a second");
}

#[test]
fn a_relayed_epoch_in_the_far_future_is_not_taken_over() {
    let mut us = ours();
    us.handle(at(1), &node("a"), &said(id("a", 9), Message::Gossip, vec![Member::alive(id("b", u64::MAX - 1))]));
    us.drain();
    us.handle(at(2), &node("b"), &said(id("b", 6), Message::Ping(1), vec![]));
    assert_eq!(us.drain().1, [(node("b"), Liveness::Alive)]);
}

#[test]
fn what_is_no_datagram_is_dropped() {
    let mut us = ours();
    let good = said(id("a", 9), Message::Gossip, vec![Member::new(id("b", 3), 1, State::Suspect)]);
    for length in 0..good.len() {
        us.handle(at(1), &node("a"), &good[..length]);
    }
    us.handle(at(1), &node("a"), &[0; super::MAX_DATAGRAM + 1]);
    let mut seed = 1u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bytes = good.clone();
        let place = (seed >> 33) as usize % bytes.len();
        bytes[place] ^= (seed >> 20) as u8;
        us.handle(at(2), &node("a"), &bytes);
        us.drain();
    }
    assert!(us.foca.num_members() <= 2);
}

#[test]
fn a_peer_that_never_answers_goes_from_suspect_to_down() {
    let mut us = ours();
    let mut states = Vec::new();
    for _ in 0..2000 {
        let now = us.due();
        us.handle_timer(now);
        states.extend(us.drain().1);
        us.handle(now, &node("b"), &said(id("b", 6), Message::Ping(1), vec![]));
    }
    let of_a: Vec<_> = states.iter().filter(|(who, _)| *who == node("a")).map(|(_, state)| *state).collect();
    assert_eq!(of_a, [Liveness::Suspect, Liveness::Down]);
}
