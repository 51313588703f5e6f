//! From `host:port` to addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Instant;

/// More addresses than a service on this host has.
const MAX_ADDRESSES: usize = 16;

/// Resolves `host:port` (an IPv6 address in brackets). The resolver knows no deadline, so it runs on a thread that
/// is left behind at ours: the process ends soon anyway.
pub(super) fn resolve(address: &str, until: Instant) -> io::Result<Vec<SocketAddr>> {
    let (sender, resolved) = mpsc::channel();
    let owned = address.to_owned();
    std::thread::Builder::new().name("resolve".into()).spawn(move || {
        // Nobody may be listening any more.
        let _ = sender.send(owned.to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect::<Vec<_>>()));
    })?;
    let found = resolved
        .recv_timeout(until.saturating_duration_since(Instant::now()))
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "its name was not resolved in time"))??;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "its name has no address"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let until = Instant::now() + Duration::from_secs(10);
        assert_eq!(resolve("127.0.0.1:443", until).unwrap(), ["127.0.0.1:443".parse().unwrap()]);
        assert_eq!(resolve("[::1]:443", until).unwrap(), ["[::1]:443".parse().unwrap()]);
        for bad in ["", "127.0.0.1", ":", "127.0.0.1:port", "::1:99999"] {
            assert!(resolve(bad, until).is_err(), "{bad:?}");
        }
    }
}
