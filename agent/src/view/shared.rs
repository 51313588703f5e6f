//! What is the same for every reader: the roots to trust and the revocation lists. The keeper says when they change; between, opening
//! them asks nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::certificate_file::CertificateFile;
use reverie_core::ipc::view::{Did, HELD, Reply, Request};

use super::files::State;
use super::handles::Content;
use crate::ops::channel::Channel;

/// A keeper that answers no more is not believed any longer.
const PATIENCE: Duration = HELD.saturating_mul(2);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// What the keeper said last.
#[derive(Default)]
pub struct Shared {
    known: Mutex<Option<Known>>,
    /// Counted for the keeper's metrics.
    pub did: Counts,
}

struct Known {
    digest: String,
    bundle: Content,
    lists: Content,
    until: Instant,
}

impl Shared {
    /// What is in a file that is the same for all.
    pub fn get(&self, file: CertificateFile) -> Option<Content> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|known| known.until > Instant::now())?;
        match file {
            CertificateFile::Ca | CertificateFile::Bundle => Some(Arc::clone(&known.bundle)),
            CertificateFile::Revoked => Some(Arc::clone(&known.lists)),
            CertificateFile::Chain | CertificateFile::Key | CertificateFile::Combined => None,
        }
    }

    fn digest(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|known| known.digest.clone())
    }

    fn take(&self, reply: &mut Reply) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + PATIENCE;
        match (reply, known.as_mut()) {
            (Reply::Shared { digest, bundle, lists }, _) => {
                let [bundle, lists] = [bundle, lists].map(|bytes| Content::new(std::mem::take(bytes).into()));
                *known = Some(Known { digest: std::mem::take(digest), bundle, lists, until });
            }
            (Reply::Unchanged, Some(known)) => known.until = until,
            _ => *known = None,
        }
    }
}

/// Follows what the keeper says. Never ends. (The kernel has nothing to forget: contents do not go through its cache.)
pub async fn follow(keeper: Arc<Channel<Request, Reply>>, state: Arc<State>) {
    loop {
        let did = state.shared.did.take();
        let ask = Request::Shared { known: state.shared.digest(), did };
        let answer = keeper.call(&ask, None, PATIENCE).await;
        let failed = answer.is_err();
        state.shared.take(&mut answer.unwrap_or(Reply::Failed));
        if failed {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What was done without asking the keeper, since it was told last.
#[derive(Debug, Default)]
pub struct Counts {
    glances: AtomicU64,
    opens: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// A question was answered by what the process was shown just before.
    pub fn glanced(&self) {
        self.glances.fetch_add(1, Ordering::Relaxed);
    }

    /// A file that is the same for all was opened.
    pub fn opened(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    /// One user wanted too much at once.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> Did {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Did { glances: take(&self.glances), opens: take(&self.opens), refused: take(&self.refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(digest: &str, bundle: &[u8]) -> Reply {
        Reply::Shared { digest: digest.to_owned(), bundle: bundle.to_vec(), lists: vec![7] }
    }

    #[test]
    fn what_was_said_holds_until_something_else_is_or_nothing_comes_any_more() {
        let shared = Shared::default();
        assert!(shared.get(CertificateFile::Bundle).is_none());
        shared.take(&mut Reply::Unchanged);
        assert!(shared.get(CertificateFile::Bundle).is_none(), "there is nothing to be unchanged");
        shared.take(&mut said("a", b"one"));
        let opened = shared.get(CertificateFile::Ca).unwrap();
        shared.take(&mut Reply::Unchanged);
        shared.take(&mut said("b", b"two"));
        assert_eq!((opened.as_slice(), shared.get(CertificateFile::Bundle).unwrap().as_slice()), (&b"one"[..], &b"two"[..]));
        assert_eq!(shared.digest().as_deref(), Some("b"));
        assert!(shared.get(CertificateFile::Key).is_none() && shared.get(CertificateFile::Chain).is_none());
        shared.known.lock().unwrap().as_mut().unwrap().until = Instant::now();
        assert!(shared.get(CertificateFile::Bundle).is_none(), "the keeper was silent for too long");
        shared.take(&mut Reply::Failed);
        assert_eq!(shared.digest(), None, "it is asked for everything again");
    }
}
