//! What net counts, as `/metrics` shows it.

use std::sync::{Mutex, PoisonError};

use reverie_core::ipc::net::Metrics;

/// What was heard last. The recorder is one for the process, and so is this.
static LAST: Mutex<Option<Metrics>> = Mutex::new(None);
/// Pairs of endpoint and status that a healthy net has.
const MAX_REQUESTS: usize = 512;

/// Since the last time; a net that began anew counts from nothing.
fn since(now: u64, last: u64) -> u64 {
    now.checked_sub(last).unwrap_or(now)
}

/// Adds what came since the last time.
pub(super) fn show(mut now: Metrics) {
    now.requests.truncate(MAX_REQUESTS);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let before = last.take().unwrap_or_default();
    ::metrics::gauge!("reverie_mesh_connections", "side" => "inbound").set(now.connections);
    ::metrics::gauge!("reverie_mesh_connections", "side" => "outbound").set(now.peer_connections);
    ::metrics::gauge!("reverie_mesh_waiters").set(now.waiters);
    for request in &now.requests {
        let same = before.requests.iter().find(|old| old.endpoint == request.endpoint && old.status == request.status);
        let labels = [("endpoint", request.endpoint.clone()), ("status", request.status.to_string())];
        let count = since(request.count, same.map_or(0, |old| old.count));
        ::metrics::counter!("reverie_mesh_requests_total", &labels).increment(count);
    }
    let counters = [
        (::metrics::counter!("reverie_mesh_connections_shed_total"), now.shed, before.shed),
        (::metrics::counter!("reverie_mesh_handshakes_failed_total"), now.handshakes_failed, before.handshakes_failed),
        (::metrics::counter!("reverie_mesh_exchanges_total", "outcome" => "done"), now.exchanges, before.exchanges),
        (
            ::metrics::counter!("reverie_mesh_exchanges_total", "outcome" => "failed"),
            now.exchanges_failed,
            before.exchanges_failed,
        ),
        (::metrics::counter!("reverie_mesh_probes_total"), now.probes, before.probes),
        (::metrics::counter!("reverie_mesh_datagrams_total"), now.datagrams, before.datagrams),
        (::metrics::counter!("reverie_mesh_records_sent_total"), now.records_sent, before.records_sent),
        (::metrics::counter!("reverie_mesh_bytes_total", "direction" => "sent"), now.bytes_sent, before.bytes_sent),
        (::metrics::counter!("reverie_mesh_bytes_total", "direction" => "received"), now.bytes_received, before.bytes_received),
    ];
    for (counter, now, before) in counters {
        counter.increment(since(now, before));
    }
    *last = Some(now);
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_net_that_began_anew_is_counted_from_nothing() {
        assert_eq!(super::since(7, 5), 2);
        assert_eq!(super::since(3, 5), 3);
    }
}
