//! A place as `stat` shows it: its reader is its owner.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use reverie_core::ipc::view::Reader;
use reverie_core::view::Node;

/// What the kernel may remember: nothing. It would tell others what it was told for one.
pub const NOT_REMEMBERED: Duration = Duration::ZERO;

/// What kind of thing it is.
pub fn kind(node: &Node) -> FileType {
    match node {
        Node::Root | Node::Certificates | Node::Secrets | Node::Identity(_) => FileType::Directory,
        Node::Default => FileType::Symlink,
        Node::File(_) => FileType::RegularFile,
    }
}

/// Its attributes, for one reader.
pub fn of(node: &Node, number: u64, size: u64, reader: Reader, since: SystemTime) -> FileAttr {
    let (perm, nlink) = match node {
        Node::File(file) => (file.mode(), 1),
        Node::Default => (0o777, 1),
        _ => (0o555, 2),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: since,
        mtime: since,
        ctime: since,
        crtime: since,
        kind: kind(node),
        perm,
        nlink,
        uid: reader.uid,
        gid: reader.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
