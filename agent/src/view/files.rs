//! The file system: each request is answered for the process that makes it. What is known is said at once; what the keeper must be
//! asked is not waited for on the thread that reads requests, so that one reader waits and the others do not.

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

use super::attributes::{self, NOT_REMEMBERED, REMEMBERED};
use super::dispatch::Dispatch;
use super::glances::Glances;
use super::handles::{Content, Handles};
use super::reader::Asking;
use super::shared::Shared;
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

/// What it knows.
pub struct State {
    keeper: Arc<Channel<Ask, Reply>>,
    nodes: Mutex<Nodes>,
    glances: Glances,
    handles: Handles,
    /// What is the same for all.
    pub shared: Shared,
    /// Is a request being answered, and for how long already?
    pub dispatch: Dispatch,
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
            shared: Shared::default(),
            dispatch: Dispatch::default(),
            in_work: Arc::default(),
            since: SystemTime::now(),
        };
        Self { runtime, state: Arc::new(state) }
    }

    /// What it knows, for those who keep it up to date.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Works on a request apart; `refuse` is for when there is no room.
    fn work<R: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        &self,
        asking: Asking,
        reply: R,
        refuse: fn(R, Errno),
        work: impl FnOnce(Arc<State>, R) -> F,
    ) {
        let Some(share) = self.state.in_work.take(asking.reader.uid, 1, AT_ONCE.0, AT_ONCE.1) else {
            self.state.shared.did.refused();
            return refuse(reply, Errno::EAGAIN);
        };
        let work = work(Arc::clone(&self.state), reply);
        self.runtime.spawn(async move {
            work.await;
            drop(share);
        });
    }

    /// Answers with what the reader sees at a place: at once if that is known, else apart. `itself`: it is asked of the place, not of
    /// what lies below.
    fn show<R: Send + 'static>(
        &self,
        request: &Request,
        number: INodeNo,
        itself: bool,
        reply: R,
        refuse: fn(R, Errno),
        answer: impl FnOnce(&State, Asking, &Node, &Sight, R) + Send + 'static,
    ) {
        let asking = Asking::of(request);
        let node = match self.state.node(number) {
            Ok(node) => node,
            Err(error) => return refuse(reply, error),
        };
        if let Some(sight) = self.state.known(&asking, &node, itself) {
            return answer(&self.state, asking, &node, &sight, reply);
        }
        self.work(asking, reply, refuse, async move |state, reply| match state.sight(asking).await {
            Ok(sight) => answer(&state, asking, &node, &sight, reply),
            Err(error) => refuse(reply, error),
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

    /// What `asking` sees, if nobody must be asked: the upper folders are the same for all.
    fn known(&self, asking: &Asking, node: &Node, itself: bool) -> Option<Arc<Sight>> {
        let is_everyones = match node {
            Node::Root => true,
            Node::Certificates | Node::Secrets => itself,
            _ => false,
        };
        if is_everyones {
            return Some(Arc::default());
        }
        let sight = self.glances.get(asking)?;
        self.shared.did.glanced();
        Some(sight)
    }

    async fn sight(&self, asking: Asking) -> Result<Arc<Sight>, Errno> {
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

    /// What `stat` says, and for how long that holds for everyone.
    fn attributes(&self, asking: Asking, sight: &Sight, node: &Node) -> Result<(fuser::FileAttr, Duration), Errno> {
        let number = self.number(node);
        let shown = |size, lifetime| (attributes::of(node, number, size, asking.reader, self.since), lifetime);
        // The kernel does not say that it asks for an open file: whoever has one may have given up since what opened it.
        if !sight.holds(node) {
            return Ok(shown(self.handles.length(number).ok_or(Errno::ENOENT)?, NOT_REMEMBERED));
        }
        Ok(match node {
            Node::Root | Node::Certificates | Node::Secrets => shown(0, REMEMBERED),
            Node::Identity(_) => shown(0, NOT_REMEMBERED),
            Node::Default => shown(sight.default_identity().map_or(0, |name| name.as_str().len() as u64), NOT_REMEMBERED),
            Node::File(file) => {
                let content = node.shared().and_then(|shared| self.shared.get(shared));
                shown(content.map_or_else(|| sight.size(file), |content| content.len() as u64), NOT_REMEMBERED)
            }
        })
    }

    fn put(&self, asking: Asking, number: INodeNo, content: Content, own: bool) -> Result<u64, Errno> {
        let handle = self.handles.put(asking.reader.uid, number.0, content, own);
        handle.ok_or_else(|| {
            self.shared.did.refused();
            Errno::EMFILE
        })
    }

    async fn open(&self, asking: Asking, number: INodeNo) -> Result<u64, Errno> {
        let Node::File(file) = self.node(number)? else { return Err(Errno::EISDIR) };
        match self.ask(asking, &Ask::Open(asking.reader, file)).await? {
            (Reply::Content(ref mut content), _) => {
                // What was made just now has a size by now.
                self.glances.forget(&asking);
                self.put(asking, number, Content::new(std::mem::take(content).into()), true)
            }
            _ => Err(Errno::EIO),
        }
    }
}

/// Past the page cache: that knows files, and not who reads them, nor when they were opened. (A private mapping goes through it all
/// the same.)
const OPENED: FopenFlags = FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_NOFLUSH);

fn opened(reply: ReplyOpen, handle: Result<u64, Errno>) {
    match handle {
        Ok(handle) => reply.opened(FileHandle(handle), OPENED),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Or one reader that is looked at slowly holds the folder, and all others wait. Linux has it since 4.7.
        config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _busy = self.state.dispatch.begin();
        let name = name.to_owned();
        self.show(request, parent, false, reply, ReplyEntry::error, move |state, asking, parent, sight, reply| {
            let node = name.to_str().and_then(|name| sight.lookup(parent, name)).ok_or(Errno::ENOENT);
            match node.and_then(|node| Ok((state.attributes(asking, sight, &node)?, attributes::name_lives(&node)))) {
                Ok(((shown, lifetime), name_lives)) => {
                    reply.entry_with_ttls(&lifetime, &name_lives, &shown, Generation(0));
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _busy = self.state.dispatch.begin();
        self.show(request, number, true, reply, ReplyAttr::error, move |state, asking, node, sight, reply| {
            match state.attributes(asking, sight, node) {
                Ok((shown, lifetime)) => reply.attr(&lifetime, &shown),
                Err(error) => reply.error(error),
            }
        });
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let _busy = self.state.dispatch.begin();
        self.show(request, number, true, reply, ReplyData::error, move |_, _, node, sight, reply| {
            match sight.default_identity().filter(|_| *node == Node::Default) {
                Some(target) => reply.data(target.as_str().as_bytes()),
                None => reply.error(Errno::EINVAL),
            }
        });
    }

    fn readdir(&self, request: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        let _busy = self.state.dispatch.begin();
        self.show(request, number, false, reply, ReplyDirectory::error, move |state, _, node, sight, mut reply| {
            let Some(entries) = sight.list(node) else {
                return reply.error(if sight.holds(node) { Errno::ENOTDIR } else { Errno::ENOENT });
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
        let _busy = self.state.dispatch.begin();
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let shared = self.state.node(number).ok().and_then(|node| self.state.shared.get(node.shared()?));
        if let Some(content) = shared {
            return self.show(request, number, true, reply, ReplyOpen::error, move |state, asking, node, sight, reply| {
                let shown = sight.holds(node).then_some(()).ok_or(Errno::ENOENT);
                state.shared.did.opened();
                opened(reply, shown.and_then(|()| state.put(asking, number, content, false)));
            });
        }
        let asking = Asking::of(request);
        self.work(asking, reply, ReplyOpen::error, async move |state, reply| opened(reply, state.open(asking, number).await));
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _busy = self.state.dispatch.begin();
        let Some(content) = self.state.handles.get(number.0, handle.0) else { return reply.error(Errno::EBADF) };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let to = from.saturating_add(size as usize).min(content.len());
        reply.data(content.get(from..to).unwrap_or_default());
    }

    fn release(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let _busy = self.state.dispatch.begin();
        self.state.handles.close(number.0, handle.0);
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
