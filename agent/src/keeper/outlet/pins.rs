//! A process that reads a certificate and then its key gets both of one generation, also if there is a new one in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::audit::Actor;
use reverie_core::certificate_file::CertificateFile;
use reverie_core::id::IdentityName;
use reverie_sys::pidfd::PidFd;

use crate::keeper::Keeper;
use crate::keeper::identity::rotation::{self, RotationError};
use crate::keeper::identity::store::Generation;
use crate::keeper::local::peer::Peer;
use crate::ops::shares::{Share, Shares};

/// From the first file on. Longer than a unit takes to load its credentials, shorter than anybody waits for a new certificate.
const FOR: Duration = Duration::from_secs(10);
/// Pairs of a process and an identity; beyond, pairs may be torn, and the readers' own check says so.
const MOST: u32 = 4096;
/// Of them one user's processes have so many at most. Root's are the services that are starting.
const MOST_PER_UID: u32 = 512;

#[derive(Debug)]
struct Pin {
    /// While it is alive, its number is nobody else's.
    process: PidFd,
    generation: Arc<Generation>,
    /// What it has read of it. Who reads a file again wants what there is now.
    read: Vec<CertificateFile>,
    until: Instant,
    _share: Share<u32>,
}

/// The generations that processes began to read.
#[derive(Debug, Default)]
pub struct Pins {
    pins: Mutex<BTreeMap<(i32, IdentityName), Pin>>,
    shares: Arc<Shares<u32>>,
}

/// The generation of which this process reads `file`: the one it began with, else the current one.
pub(super) async fn generation(
    keeper: &Arc<Keeper>,
    peer: &Peer,
    name: &IdentityName,
    file: CertificateFile,
) -> Result<Arc<Generation>, RotationError> {
    if let Some(begun) = keeper.pins.get(peer, name, file).filter(|begun| rotation::check_still_counts(keeper, begun).is_ok()) {
        return Ok(begun);
    }
    let current = rotation::current_or_new(keeper, name, Actor::from(&peer.caller)).await?;
    keeper.pins.put(peer, name, file, &current);
    Ok(current)
}

impl Pins {
    /// What the process began to read a moment ago, if this file is its next of it.
    fn get(&self, peer: &Peer, identity: &IdentityName, file: CertificateFile) -> Option<Arc<Generation>> {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let pin = pins.get_mut(&(peer.caller.pid, identity.clone()))?;
        let holds = pin.until > Instant::now() && pin.process.is_alive().unwrap_or(false);
        if !holds || pin.read.contains(&file) {
            return None;
        }
        pin.read.push(file);
        Some(Arc::clone(&pin.generation))
    }

    /// It begins to read this one.
    fn put(&self, peer: &Peer, identity: &IdentityName, file: CertificateFile, generation: &Arc<Generation>) {
        let Some(Ok(process)) = peer.pidfd().map(PidFd::try_clone) else { return };
        let (key, until) = ((peer.caller.pid, identity.clone()), Instant::now() + FOR);
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.remove(&key);
        if let Some(_share) = self.shares.take(peer.caller.uid, 1, MOST, MOST_PER_UID) {
            pins.insert(key, Pin { process, generation: Arc::clone(generation), read: vec![file], until, _share });
        }
    }

    /// Lets go of what is over, with the keys in it.
    pub fn forget_old(&self) {
        let now = Instant::now();
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, pin| pin.until > now);
    }
}

#[cfg(test)]
mod tests {
    use reverie_core::caller::Caller;

    use super::*;
    use crate::keeper::identity::store::tests::generation;

    fn peer(uid: u32) -> Peer {
        let pid = std::process::id() as i32;
        Peer::fake(Caller::by_credentials(pid, uid, uid, vec![]), PidFd::open(pid).unwrap())
    }

    #[test]
    fn a_process_reads_each_file_of_one_generation_once() {
        let (pins, reader, web) = (Pins::default(), peer(7), "web".parse().unwrap());
        let number = |file| pins.get(&reader, &web, file).map(|pinned| pinned.number);
        assert_eq!(number(CertificateFile::Chain), None);
        pins.put(&reader, &web, CertificateFile::Chain, &generation(1));
        assert_eq!([CertificateFile::Key, CertificateFile::Key, CertificateFile::Combined].map(number), [Some(1), None, Some(1)]);
        pins.put(&reader, &web, CertificateFile::Chain, &generation(2));
        assert_eq!([CertificateFile::Chain, CertificateFile::Key].map(number), [None, Some(2)], "it began anew");
        assert_eq!(pins.shares.total(), 1);
    }

    #[test]
    fn one_user_cannot_have_all_pins_and_what_is_over_makes_room() {
        let pins = Pins::default();
        let names = |n: u32| format!("web{n}").parse::<IdentityName>().unwrap();
        for n in 0..MOST_PER_UID + 10 {
            pins.put(&peer(7), &names(n), CertificateFile::Chain, &generation(1));
        }
        assert_eq!(pins.shares.total(), MOST_PER_UID);
        pins.put(&peer(8), &names(0), CertificateFile::Chain, &generation(1));
        assert!(pins.get(&peer(8), &names(0), CertificateFile::Key).is_some());
        pins.pins.lock().unwrap().values_mut().for_each(|pin| pin.until = Instant::now());
        assert!(pins.get(&peer(8), &names(0), CertificateFile::Combined).is_none());
        pins.forget_old();
        assert_eq!(pins.shares.total(), 0);
    }
}
