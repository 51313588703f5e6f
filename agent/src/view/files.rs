//! The file system: each request is answered for the process that makes it. Nothing is done on the thread that reads requests, so
//! that one reader waits for the keeper and the others do not.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use reverie_core::ipc::view::{Reply, Request as Ask};
use reverie_core::view::{Node, Nodes, Sight};
use tokio::runtime::Handle;

use super::attributes::{self, NOT_REMEMBERED};
use super::glances::Glances;
use super::handles::Handles;
use super::reader::Asking;
use crate::ops::channel::Channel;
use crate::ops::shares::Shares;

/// A reader waits no longer: a certificate is made in well under a second, and what hangs is to say so.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests in work: of all, and of one user.
const AT_ONCE: (u32, u32) = (1024, 64);

/// The file system that the kernel asks.
pub struct Files {
    runtime: Handle,
    state: Arc<State>,
}

struct State {
    keeper: Arc<Channel<Ask, Reply>>,
    nodes: Mutex<Nodes>,
    glances: Glances,
    handles: Handles,
    /// Requests in work, by user.
    in_work: Arc<Shares<u32>>,
    since: SystemTime,
}

impl Files {
    /// What `keeper` says.
    pub fn new(keeper: Arc<Channel<Ask, Reply>>, runtime: Handle) -> Self {
        let state = State {
            keeper,
            nodes: Mutex::default(),
            glances: Glances::default(),
            handles: Handles::default(),
            in_work: Arc::default(),
            since: SystemTime::now(),
        };
        Self { runtime, state: Arc::new(state) }
    }

    /// Works on a request apart; `refuse` is for when there is no room.
    fn work<R: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        &self,
        request: &Request,
        reply: R,
        refuse: fn(R, Errno),
        work: impl FnOnce(Arc<State>, Asking, R) -> F,
    ) {
        let asking = Asking::of(request);
        let Some(share) = self.state.in_work.take(asking.reader.uid, 1, AT_ONCE.0, AT_ONCE.1) else {
            return refuse(reply, Errno::EAGAIN);
        };
        let work = work(Arc::clone(&self.state), asking, reply);
        self.runtime.spawn(async move {
            work.await;
            drop(share);
        });
    }
}

impl State {
    fn node(&self, number: INodeNo) -> Result<Node, Errno> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).node(number.0).cloned().ok_or(Errno::ENOENT)
    }

    fn number(&self, node: &Node) -> u64 {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).number(node)
    }

    async fn ask(&self, asking: Asking, ask: &Ask) -> Result<(Reply, super::reader::Pinned), Errno> {
        let pinned = asking.pin().map_err(|error| match error.kind() {
            // It has ended, or is of a pid namespace that is none of ours.
            _ if error.raw_os_error() == Some(libc::ESRCH) => Errno::ENOENT,
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Errno::ENOENT,
            _ => {
                tracing::warn!(%error, uid = asking.reader.uid, "a reader's process cannot be taken hold of");
                Errno::EIO
            }
        })?;
        match self.keeper.call(ask, Some(pinned.pidfd.as_fd()), DEADLINE).await {
            Ok(Reply::Nothing) => Err(Errno::ENOENT),
            Ok(Reply::Busy) => Err(Errno::EAGAIN),
            Ok(Reply::Failed) => Err(Errno::EIO),
            Ok(reply) => Ok((reply, pinned)),
            Err(error) => {
                tracing::warn!(%error, uid = asking.reader.uid, "a reader got no answer");
                Err(Errno::EIO)
            }
        }
    }

    /// What `asking` sees, as far as it matters below `node`: the upper folders are the same for all, and nobody waits for them.
    async fn sight_at(&self, asking: Asking, node: &Node, itself: bool) -> Result<Arc<Sight>, Errno> {
        let is_everyones = match node {
            Node::Root => true,
            Node::Certificates | Node::Secrets => itself,
            _ => false,
        };
        if is_everyones { Ok(Arc::default()) } else { self.sight(asking).await }
    }

    async fn sight(&self, asking: Asking) -> Result<Arc<Sight>, Errno> {
        if let Some(sight) = self.glances.get(&asking) {
            return Ok(sight);
        }
        match self.ask(asking, &Ask::Look(asking.reader)).await {
            Ok((Reply::Sight(ref sight), pinned)) => {
                let sight = Arc::new(sight.clone());
                // Who has nothing may be about to become the program that has.
                if !sight.identities.is_empty() {
                    self.glances.put(asking, pinned, &sight);
                }
                Ok(sight)
            }
            // Who is nobody to the keeper sees what anybody sees.
            Err(error) if error.code() == Errno::ENOENT.code() => Ok(Arc::default()),
            Err(error) => Err(error),
            Ok(_) => Err(Errno::EIO),
        }
    }

    fn attributes(&self, asking: Asking, sight: &Sight, node: &Node) -> Result<fuser::FileAttr, Errno> {
        let number = self.number(node);
        // The kernel does not say that it asks for an open file: whoever has one may have given up since what opened it.
        let open = if sight.holds(node) { None } else { Some(self.handles.length(number).ok_or(Errno::ENOENT)?) };
        let size = match (node, open) {
            (_, Some(length)) => length,
            (Node::File(file), None) => sight.size(file),
            (Node::Default, None) => sight.default_identity().map_or(0, |name| name.as_str().len() as u64),
            _ => 0,
        };
        Ok(attributes::of(node, number, size, asking.reader, self.since))
    }

    async fn lookup(&self, asking: Asking, parent: INodeNo, name: &OsStr) -> Result<fuser::FileAttr, Errno> {
        let parent = self.node(parent)?;
        let sight = self.sight_at(asking, &parent, false).await?;
        let node = name.to_str().and_then(|name| sight.lookup(&parent, name)).ok_or(Errno::ENOENT)?;
        self.attributes(asking, &sight, &node)
    }

    async fn open(&self, asking: Asking, number: INodeNo) -> Result<u64, Errno> {
        let Node::File(file) = self.node(number)? else { return Err(Errno::EISDIR) };
        match self.ask(asking, &Ask::Open(asking.reader, file)).await? {
            (Reply::Content(ref mut content), _) => {
                // What was made just now has a size by now.
                self.glances.forget(&asking);
                self.handles.put(asking.reader.uid, number.0, std::mem::take(content)).ok_or(Errno::EMFILE)
            }
            _ => Err(Errno::EIO),
        }
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Or one reader that is looked at slowly holds the folder, and all others wait. Linux has it since 4.7.
        config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.work(request, reply, ReplyEntry::error, async move |state, asking, reply| {
            match state.lookup(asking, parent, &name).await {
                Ok(attributes) => reply.entry(&NOT_REMEMBERED, &attributes, Generation(0)),
                Err(error) => reply.error(error),
            }
        });
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.work(request, reply, ReplyAttr::error, async move |state, asking, reply| {
            let shown = async {
                let node = state.node(number)?;
                let sight = state.sight_at(asking, &node, true).await?;
                state.attributes(asking, &sight, &node)
            };
            match shown.await {
                Ok(attributes) => reply.attr(&NOT_REMEMBERED, &attributes),
                Err(error) => reply.error(error),
            }
        });
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        self.work(request, reply, ReplyData::error, async move |state, asking, reply| {
            let target = async {
                let (sight, node) = (state.sight(asking).await?, state.node(number)?);
                let own = sight.default_identity().filter(|_| node == Node::Default);
                own.map(ToString::to_string).ok_or(Errno::EINVAL)
            };
            match target.await {
                Ok(target) => reply.data(target.as_bytes()),
                Err(error) => reply.error(error),
            }
        });
    }

    fn readdir(&self, request: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.work(request, reply, ReplyDirectory::error, async move |state, asking, mut reply| {
            let entries = async {
                let node = state.node(number)?;
                let sight = state.sight_at(asking, &node, false).await?;
                sight.list(&node).ok_or(if sight.holds(&node) { Errno::ENOTDIR } else { Errno::ENOENT })
            };
            let entries = match entries.await {
                Ok(entries) => entries,
                Err(error) => return reply.error(error),
            };
            for (index, (name, node)) in (1..).zip(&entries).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
                if reply.add(INodeNo(state.number(node)), index, attributes::kind(node), name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        self.work(request, reply, ReplyOpen::error, async move |state, asking, reply| {
            match state.open(asking, number).await {
                // Past the page cache: that knows files, and not who reads them. (A private mapping goes through it all the same.)
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH),
                Err(error) => reply.error(error),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(content) = self.state.handles.get(handle.0) else { return reply.error(Errno::EBADF) };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let to = from.saturating_add(size as usize).min(content.len());
        reply.data(content.get(from..to).unwrap_or_default());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.state.handles.close(handle.0);
        reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use reverie_core::view::ViewedFile;

    use super::*;

    #[test]
    fn a_file_is_its_readers() {
        let file = ViewedFile::Secret("db".parse().unwrap());
        let reader = reverie_core::ipc::view::Reader { uid: 7, gid: 8 };
        let shown = attributes::of(&Node::File(file), 5, 9, reader, SystemTime::UNIX_EPOCH);
        assert_eq!((shown.uid, shown.gid, shown.perm, shown.size), (7, 8, 0o400, 9));
    }
}
