//! A process that reads a certificate and then its key gets both of one generation, also if there is a new one in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::id::IdentityName;
use reverie_core::view::CertificateFile;
use reverie_sys::pidfd::PidFd;

use crate::keeper::identity::store::Generation;
use crate::keeper::local::peer::Peer;

/// From the first file on. Longer than it takes to read a pair, shorter than anybody waits for a new certificate.
const FOR: Duration = Duration::from_secs(5);
/// Processes with their identities; beyond, pairs may be torn, and the readers' own check says so.
const MOST: usize = 4096;

struct Pin {
    /// While it is alive, its number is nobody else's.
    process: PidFd,
    generation: Arc<Generation>,
    /// What it has read of it. Who reads a file again wants what there is now.
    read: Vec<CertificateFile>,
    until: Instant,
}

/// The generations that processes began to read.
#[derive(Default)]
pub struct Pins(Mutex<BTreeMap<(i32, IdentityName), Pin>>);

impl std::fmt::Debug for Pins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pins")
    }
}

impl Pins {
    /// What the process began to read a moment ago, if this file is its next of it.
    pub(super) fn get(&self, peer: &Peer, identity: &IdentityName, file: CertificateFile) -> Option<Arc<Generation>> {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pin = pins.get_mut(&(peer.caller.pid, identity.clone()))?;
        let holds = pin.until > Instant::now() && !pin.generation.revoked && pin.process.is_alive().unwrap_or(false);
        if !holds || pin.read.contains(&file) {
            return None;
        }
        pin.read.push(file);
        Some(Arc::clone(&pin.generation))
    }

    /// It begins to read this one.
    pub(super) fn put(&self, peer: &Peer, identity: &IdentityName, file: CertificateFile, generation: &Arc<Generation>) {
        let Some(Ok(process)) = peer.pidfd().map(PidFd::try_clone) else { return };
        let now = Instant::now();
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pins.len() >= MOST {
            pins.retain(|_, pin| pin.until > now);
        }
        if pins.len() < MOST {
            let pin = Pin { process, generation: Arc::clone(generation), read: vec![file], until: now + FOR };
            pins.insert((peer.caller.pid, identity.clone()), pin);
        }
    }

    /// Lets go of what is over, with the keys in it.
    pub fn forget_old(&self) {
        let now = Instant::now();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, pin| pin.until > now);
    }
}
