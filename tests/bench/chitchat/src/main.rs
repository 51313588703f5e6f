//! How long chitchat takes until every node has a write, for `docs/performance.md`: real nodes over UDP on the loopback, without
//! encryption or signatures, nothing written to disk.
//!
//! `chitchat-beside NODES WRITES INTERVAL_MS`

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chitchat::transport::UdpTransport;
use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};

const PORT: u16 = 27_438;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let [nodes, writes, interval] = arguments[..] else { return Err("usage: chitchat-beside NODES WRITES INTERVAL_MS".into()) };
    let interval = Duration::from_millis(interval);

    let mut handles = vec![];
    for number in 0..u16::try_from(nodes)? {
        handles.push(start(number, interval).await?);
    }
    for handle in &handles {
        until(|| async { handle.with_chitchat(|node| node.live_nodes().count()).await >= handles.len() }).await?;
    }

    let (first, others) = handles.split_first().ok_or("at least one node")?;
    let mut times = vec![];
    for write in 0..writes {
        // At any point of a round.
        tokio::time::sleep(interval.mul_f64((write as f64 * 0.618).fract())).await;
        let (key, value) = (format!("key{}", write % 16), write.to_string());
        let begun = Instant::now();
        first.with_chitchat(|node| node.self_node_state().set(&key, &value)).await;
        for handle in others {
            let (key, value, author) = (&key, &value, first.chitchat_id());
            until(|| async {
                handle.with_chitchat(|node| node.node_state(author).and_then(|state| state.get(key)) == Some(value)).await
            })
            .await?;
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!(
        "chitchat, {nodes} nodes, {writes} writes, a round every {} ms: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms",
        interval.as_millis(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

async fn start(number: u16, interval: Duration) -> Result<ChitchatHandle, Box<dyn Error>> {
    let address = SocketAddr::from(([127, 0, 0, 1], PORT + number));
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(format!("node{number}"), 0, address),
        cluster_id: "beside".to_owned(),
        gossip_interval: interval,
        listen_addr: address,
        seed_nodes: vec![format!("127.0.0.1:{PORT}")],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    };
    Ok(spawn_chitchat(config, vec![], &UdpTransport).await?)
}

/// Looks every millisecond.
async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while !holds().await {
        if begun.elapsed() > PATIENCE {
            return Err("the nodes did not agree within a minute".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
