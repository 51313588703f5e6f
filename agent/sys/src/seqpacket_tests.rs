use super::*;
use crate::sealed::SEALS;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::{Read, Seek, Write};

const LIMIT: usize = 1024 * 1024;

fn receive(socket: &OwnedFd) -> io::Result<Option<Message>> {
    Receiver::new(LIMIT).recv(socket)
}

fn open_descriptors() -> usize {
    // Other tests of this process open files too, so only memfds with our own mark are counted.
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("leak-probe")))
        .count()
}

#[test]
fn a_message_arrives_whole_with_its_descriptors() {
    let (one, other) = pair().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"carried").unwrap();
    file.rewind().unwrap();
    send(&one, b"hello", &[file.as_fd()]).unwrap();
    let mut message = receive(&other).unwrap().unwrap();
    assert_eq!(&message.bytes[..], b"hello");
    let descriptor = message.descriptors.remove(0);
    let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let mut text = String::new();
    File::from(descriptor).read_to_string(&mut text).unwrap();
    assert_eq!(text, "carried");
}

#[test]
fn a_message_of_any_length_up_to_the_limit_is_the_same_afterwards() {
    let (one, other) = pair().unwrap();
    for length in [0, 1, MAX_INLINE, MAX_INLINE + 1, LIMIT] {
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        send(&one, &bytes, &[one.as_fd()]).unwrap();
        let message = receive(&other).unwrap().unwrap();
        assert!(*message.bytes == bytes, "{length}");
        assert_eq!(message.descriptors.len(), 1, "{length}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_next_one_received() {
    let (one, other) = pair().unwrap();
    send(&one, &vec![0; LIMIT + 1], &[]).unwrap();
    send(&one, b"next", &[]).unwrap();
    assert_eq!(receive(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(&receive(&other).unwrap().unwrap().bytes[..], b"next");
}

#[test]
fn a_memfd_that_its_sender_can_still_change_is_refused() {
    let (one, other) = pair().unwrap();
    let memfd = rustix::fs::memfd_create(c"unsealed", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&memfd, b"changeable").unwrap();
    send_datagram(one.as_fd(), IN_MEMFD, &[], &[memfd.as_fd()]).unwrap();
    let error = receive(&other).unwrap_err();
    assert!(error.to_string().contains("not sealed"), "{error}");
    rustix::fs::fcntl_add_seals(&memfd, SEALS).unwrap();
    send_datagram(one.as_fd(), IN_MEMFD, &[], &[memfd.as_fd()]).unwrap();
    assert_eq!(&receive(&other).unwrap().unwrap().bytes[..], b"changeable");
}

#[test]
fn a_file_in_place_of_a_memfd_is_refused() {
    let (one, other) = pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    send_datagram(one.as_fd(), IN_MEMFD, &[], &[file.as_fd()]).unwrap();
    assert_eq!(receive(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    let (one, other) = pair().unwrap();
    let memfd = rustix::fs::memfd_create(c"leak-probe", MemfdFlags::CLOEXEC).unwrap();
    let many = [memfd.as_fd(); MAX_DESCRIPTORS + 1];
    assert_eq!(send(&one, b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    // A peer that does not hold itself to the limit.
    send_datagram(one.as_fd(), INLINE, b"x", &many).unwrap();
    drop(memfd);
    assert_eq!(receive(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(open_descriptors(), 0);
}

#[test]
fn a_datagram_longer_than_ours_is_refused_rather_than_cut() {
    let (one, other) = pair().unwrap();
    send_datagram(one.as_fd(), INLINE, &vec![7; MAX_INLINE + 1], &[]).unwrap();
    assert_eq!(receive(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_datagram_of_an_unknown_kind_is_refused() {
    let (one, other) = pair().unwrap();
    send_datagram(one.as_fd(), 9, b"x", &[]).unwrap();
    send_datagram(one.as_fd(), IN_MEMFD, b"", &[]).unwrap();
    for _ in 0..2 {
        assert_eq!(receive(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_closed_peer_is_the_end() {
    let (one, other) = pair().unwrap();
    drop(one);
    assert!(receive(&other).unwrap().is_none());
    let (one, other) = pair().unwrap();
    send(&other, b"never read", &[]).unwrap();
    drop(one);
    assert!(receive(&other).unwrap().is_none());
}
