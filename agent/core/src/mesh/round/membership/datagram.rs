//! Membership datagrams as they are on the wire; see docs/protocol/mesh.md, "Membership". Big endian, fixed sizes.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Incarnation, Member, Message, State};

use super::identity::{Incarnate, NodeTag};

/// A datagram that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a membership datagram")]
pub(super) struct Malformed;

/// Knows whose datagrams they are: who does not know our epoch yet addresses us with 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire;

const IDENTITY: usize = 24;
/// Bytes of one update: identity, incarnation, state.
pub(super) const UPDATE: usize = IDENTITY + 3;

fn put_identity(buf: &mut impl BufMut, identity: &Incarnate) {
    buf.put_slice(&identity.node.0);
    buf.put_u64(identity.epoch);
}

fn take<const N: usize>(buf: &mut impl Buf) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    buf.try_copy_to_slice(&mut bytes).map_err(|_| Malformed)?;
    Ok(bytes)
}

fn take_identity(buf: &mut impl Buf) -> Result<Incarnate, Malformed> {
    Ok(Incarnate { node: NodeTag(take(buf)?), epoch: u64::from_be_bytes(take(buf)?) })
}

fn take_incarnation(buf: &mut impl Buf) -> Result<Incarnation, Malformed> {
    take(buf).map(Incarnation::from_be_bytes)
}

impl Codec<Incarnate> for Wire {
    type Error = Malformed;

    fn encode_header(&mut self, header: &Header<Incarnate>, mut buf: impl BufMut) -> Result<(), Malformed> {
        if buf.remaining_mut() < 3 * IDENTITY + 4 {
            return Err(Malformed);
        }
        put_identity(&mut buf, &header.src);
        buf.put_u16(header.src_incarnation);
        put_identity(&mut buf, &header.dst);
        let (kind, number, whom) = match &header.message {
            Message::Ping(number) => (0, Some(*number), None),
            Message::Ack(number) => (1, Some(*number), None),
            Message::PingReq { target, probe_number } => (2, Some(*probe_number), Some(target)),
            Message::IndirectPing { origin, probe_number } => (3, Some(*probe_number), Some(origin)),
            Message::IndirectAck { target, probe_number } => (4, Some(*probe_number), Some(target)),
            Message::ForwardedAck { origin, probe_number } => (5, Some(*probe_number), Some(origin)),
            Message::Announce => (6, None, None),
            Message::Feed => (7, None, None),
            Message::Gossip => (8, None, None),
            Message::TurnUndead => (9, None, None),
            Message::Broadcast => return Err(Malformed),
        };
        buf.put_u8(kind);
        if let Some(number) = number {
            buf.put_u8(number);
        }
        if let Some(whom) = whom {
            put_identity(&mut buf, whom);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Incarnate>, Malformed> {
        let buf = &mut buf;
        let src = take_identity(buf)?;
        let src_incarnation = take_incarnation(buf)?;
        let dst = take_identity(buf)?;
        let [kind] = take(buf)?;
        let probe_number = if kind < 6 { take::<1>(buf)?[0] } else { 0 };
        let message = match kind {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: take_identity(buf)?, probe_number },
            3 => Message::IndirectPing { origin: take_identity(buf)?, probe_number },
            4 => Message::IndirectAck { target: take_identity(buf)?, probe_number },
            5 => Message::ForwardedAck { origin: take_identity(buf)?, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::TurnUndead,
            _ => return Err(Malformed),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<Incarnate>, mut buf: impl BufMut) -> Result<(), Malformed> {
        if buf.remaining_mut() < UPDATE {
            return Err(Malformed);
        }
        put_identity(&mut buf, member.id());
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Incarnate>, Malformed> {
        let buf = &mut buf;
        let id = take_identity(buf)?;
        let incarnation = take_incarnation(buf)?;
        let state = match take(buf)? {
            [0] => State::Alive,
            [1] => State::Suspect,
            [2] => State::Down,
            _ => return Err(Malformed),
        };
        Ok(Member::new(id, incarnation, state))
    }
}

/// A datagram taken apart: what is in it is judged before foca sees it.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) header: Header<Incarnate>,
    pub(super) updates: Vec<Member<Incarnate>>,
}

impl Datagram {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let header = Wire.decode_header(&mut bytes)?;
        let mut updates = Vec::new();
        if !bytes.is_empty() {
            let count = usize::from(u16::from_be_bytes(take(&mut bytes)?));
            if bytes.len() != count * UPDATE {
                return Err(Malformed);
            }
            for _ in 0..count {
                updates.push(Wire.decode_member(&mut bytes)?);
            }
        }
        Ok(Self { header, updates })
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let mut bytes = Vec::with_capacity(3 * IDENTITY + 6 + self.updates.len() * UPDATE);
        Wire.encode_header(&self.header, &mut bytes)?;
        if !matches!(self.header.message, Message::Announce | Message::TurnUndead) {
            bytes.put_u16(u16::try_from(self.updates.len()).map_err(|_| Malformed)?);
            for update in &self.updates {
                Wire.encode_member(update, &mut bytes)?;
            }
        }
        Ok(bytes)
    }
}
