//! Just enough of HTTP/2 (RFC 9113) and HPACK (RFC 7541) to write over what a client says in `:authority`.
//!
//! On a unix socket there is no authority. Clients on gRPC's C core, Python's among them, give the escaped path of the socket there,
//! which is none, and the HTTP/2 library here refuses the request for it. Nothing looks at it, so every one is written over, with
//! as many bytes as it had: frames keep their lengths. A header table that holds shorter values than its sender thinks drops entries
//! later than the sender does, never sooner, and counts them from the newest: what the sender still refers to is there, at its place.

/// Sent first by every client (RFC 9113 §3.4).
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
/// The largest frame that is accepted here; a larger one is an error (RFC 9113 §4.2), which is left to be found.
const MAX_FRAME: usize = 16_384;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// Follows what a client sends, from the first byte of the connection.
#[derive(Debug, Default)]
pub struct Authorities {
    pending: Vec<u8>,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// So many bytes go on as they are.
    Passing(usize),
    /// At the head of a frame.
    Frame,
}

impl Default for Place {
    fn default() -> Self {
        Self::Passing(PREFACE)
    }
}

impl Authorities {
    /// Takes what was received, appends to `ready` what goes on. What is kept back is less than one frame.
    pub fn take(&mut self, received: &[u8], ready: &mut Vec<u8>) {
        self.pending.extend_from_slice(received);
        let mut rest = &mut self.pending[..];
        loop {
            let count = match self.place {
                Place::Passing(0) => {
                    self.place = Place::Frame;
                    continue;
                }
                Place::Passing(count) => count.min(rest.len()),
                Place::Frame => match frame(rest) {
                    Some(Frame { whole, headers: true }) if whole > rest.len() => break,
                    Some(Frame { whole, headers }) => {
                        if headers {
                            mask_frame(&mut rest[..whole]);
                        }
                        self.place = Place::Passing(whole);
                        continue;
                    }
                    None => break,
                },
            };
            if count == 0 {
                break;
            }
            let (passed, left) = rest.split_at_mut(count);
            ready.extend_from_slice(passed);
            rest = left;
            if let Place::Passing(known) = &mut self.place {
                *known -= count;
            }
        }
        let kept = rest.len();
        self.pending.drain(..self.pending.len() - kept);
    }
}

struct Frame {
    whole: usize,
    headers: bool,
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    let head = bytes.get(..FRAME_HEAD)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    Some(Frame { whole: FRAME_HEAD + length, headers: head[3] == HEADERS && length <= MAX_FRAME })
}

/// In a whole HEADERS frame. What cannot be read is left as it is, for others to refuse.
fn mask_frame(frame: &mut [u8]) {
    let flags = frame[4];
    let payload = &mut frame[FRAME_HEAD..];
    let padding = match flags & PADDED {
        0 => None,
        _ => payload.first().map(|length| usize::from(*length)),
    };
    let begin = usize::from(padding.is_some()) + if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = payload.len().saturating_sub(padding.unwrap_or(0));
    if let Some(block) = payload.get_mut(begin..end) {
        mask(block);
    }
}

/// Index of `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY: usize = 1;

/// In a block of header fields.
fn mask(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while at < block.len() {
        let first = block[at];
        // Which representation (RFC 7541 §6), by its prefix.
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let index = integer(block, &mut at, bits)?;
        if !literal {
            continue;
        }
        let named = index == 0 && {
            let (_, name) = string(block, &mut at)?;
            // Plain, or in Huffman's code.
            matches!(block.get(name)?, b":authority" | [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f])
        };
        let (length_at, value) = string(block, &mut at)?;
        if index == AUTHORITY || named {
            // Plain from now on: the first bit of the length says how it is coded.
            block[length_at] &= 0x7f;
            block.get_mut(value)?.fill(b'x');
        }
    }
    Some(())
}

/// A string literal (RFC 7541 §5.2): where its length is, and its bytes.
fn string(block: &[u8], at: &mut usize) -> Option<(usize, std::ops::Range<usize>)> {
    let length_at = *at;
    let length = integer(block, at, 7)?;
    let end = at.checked_add(length).filter(|end| *end <= block.len())?;
    let value = *at..end;
    *at = end;
    Some((length_at, value))
}

/// An integer (RFC 7541 §5.1).
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let first = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if first < most {
        return Some(first);
    }
    let mut value = most;
    // Larger ones are no lengths of anything that fits here.
    for shift in [0, 7, 14] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn headers(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), HEADERS, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn passed(sent: &[u8], piece: usize) -> Vec<u8> {
        let (mut authorities, mut ready) = (Authorities::default(), vec![]);
        sent.chunks(piece).for_each(|piece| authorities.take(piece, &mut ready));
        assert!(authorities.pending.is_empty(), "{authorities:?}");
        ready
    }

    #[test]
    fn the_path_of_a_socket_is_written_over_and_everything_else_goes_on_as_it_came() {
        // :method POST, :authority (indexed, plain), te: trailers (literal name), then a data frame that looks like one.
        let block = [&[0x83, 0x41, 10][..], b"run%2Fa.so", &[0x40, 2], b"te", &[8], b"trailers"].concat();
        let masked = [&[0x83, 0x41, 10][..], b"xxxxxxxxxx", &[0x40, 2], b"te", &[8], b"trailers"].concat();
        let data = [&[0, 0, 12, 0, 0, 0, 0, 0, 1][..], &[0x41, 10], b"run%2Fa.so"].concat();
        let sent = [PRI, &headers(4, &block), &data, &headers(4, &block)].concat();
        let expected = [PRI, &headers(4, &masked), &data, &headers(4, &masked)].concat();
        for piece in [1, 2, 7, 1000] {
            assert_eq!(passed(&sent, piece), expected, "{piece}");
        }
    }

    #[test]
    fn in_huffmans_code_with_padding_and_priority_it_is_written_over_too() {
        let block = [0x41, 0x84, 0xd8, 0x7a, 0x1f, 0x3f];
        let payload = [&[2, 0, 0, 0, 0, 9][..], &block, &[0, 0]].concat();
        let masked = [&[2, 0, 0, 0, 0, 9][..], &[0x41, 4], b"xxxx", &[0, 0]].concat();
        let flags = 4 | PADDED | PRIORITY;
        assert_eq!(passed(&[PRI, &headers(flags, &payload)].concat(), 5), [PRI, &headers(flags, &masked)].concat());
        let named = [&[0x10, 10][..], b":authority", &[3], b"a/b"].concat();
        let masked = [&[0x10, 10][..], b":authority", &[3], b"xxx"].concat();
        assert_eq!(passed(&[PRI, &headers(4, &named)].concat(), 9), [PRI, &headers(4, &masked)].concat());
    }

    #[test]
    fn what_is_no_header_block_goes_on_as_it_came() {
        for block in [&[0x41][..], &[0x41, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x41, 5, b'a'], &[0xff], &[0x40, 0x7f], &[]] {
            let sent = [PRI, &headers(4, block)].concat();
            assert_eq!(passed(&sent, 3), sent);
        }
        let short = [PRI, &headers(4 | PADDED, &[200])].concat();
        assert_eq!(passed(&short, 3), short);
    }

    proptest::proptest! {
        #[test]
        fn no_byte_is_lost_or_made_whatever_comes(sent: Vec<u8>, piece in 1..50_usize) {
            let (mut authorities, mut ready) = (Authorities::default(), vec![]);
            sent.chunks(piece).for_each(|piece| authorities.take(piece, &mut ready));
            proptest::prop_assert_eq!(ready.len() + authorities.pending.len(), sent.len());
            proptest::prop_assert!(authorities.pending.len() < FRAME_HEAD + MAX_FRAME);
        }
    }
}
