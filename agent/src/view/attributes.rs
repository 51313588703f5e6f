//! A place as `stat` shows it: what is its reader's own belongs to it, what is everyone's to root.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use reverie_core::ipc::view::Reader;
use reverie_core::view::{Node, ViewedFile};

/// What the kernel may remember of what depends on who asks: nothing. It would tell others what it was told for one.
pub const NOT_REMEMBERED: Duration = Duration::ZERO;
/// Of what is the same for all, and stays so.
pub const REMEMBERED: Duration = Duration::from_secs(3600);

/// For how long a name is known to be there. Which files an identity has is the same for all who see that it is there, and that is
/// asked each time.
pub fn name_lives(node: &Node) -> Duration {
    match node {
        Node::Root | Node::Certificates | Node::Secrets | Node::File(ViewedFile::Certificate(..)) => REMEMBERED,
        Node::Default | Node::Identity(_) | Node::File(ViewedFile::Secret(_)) => NOT_REMEMBERED,
    }
}

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
    let (uid, gid) = match node {
        Node::Root | Node::Certificates | Node::Secrets => (0, 0),
        _ => (reader.uid, reader.gid),
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
        uid,
        gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
