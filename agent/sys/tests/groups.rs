//! In a process of its own, since it changes the groups of the whole process. Needs root.

use std::os::unix::net::UnixStream;

use nix::unistd::{Gid, setgroups};
use reverie_sys::peer::peer_groups;

#[test]
fn as_root_a_peer_in_many_groups_is_read_whole_and_in_order() {
    for count in [0u32, 1, 32, 33, 1000] {
        let groups: Vec<Gid> = (0..count).rev().map(|n| Gid::from_raw(5000 + n)).collect();
        setgroups(&groups).expect("this test needs root: it sets supplementary groups");
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(peer_groups(&ours).unwrap(), (5000..5000 + count).collect::<Vec<_>>());
    }
}
