//! A net of our own making at the other end of the channel.

use std::time::Duration;

use reverie_core::ipc::net::Side;

use super::*;
use crate::keeper::mesh::link::serve_on;
use crate::ops::channel::Channel;

const AMPLE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn net_asks_over_its_channel_many_things_at_once_and_a_waiting_question_holds_up_none() {
    let (_directory, founder, member) = two().await;
    let (ours, theirs) = reverie_sys::seqpacket::pair().unwrap();
    let keeper = Arc::clone(&member);
    let serving = tokio::spawn(async move { serve_on(&keeper, ours).await });
    let net: Channel<Request, Reply> = Channel::connect_as(theirs, "net", "keeper", 256).await.unwrap();
    let net = Arc::new(net);
    let waiting: Vec<_> = (0..64)
        .map(|_| {
            let net = Arc::clone(&net);
            let request = Request::AwaitClient { client_id: "app".to_owned(), timeout_ms: 20_000 };
            tokio::spawn(async move { net.call(&request, None, AMPLE).await.unwrap() })
        })
        .collect();
    founder.put_client("app").await;
    let (records, _, _) = founder.mesh.records(&member.mesh.vector(), 1 << 20);
    let merge = Request::Merge { from: node("a"), records, vector: founder.mesh.vector(), more: None };
    let Reply::Merged(merged) = net.call(&merge, None, AMPLE).await.unwrap() else { panic!() };
    assert_eq!((merged.taken, merged.digest), (1, founder.digest()));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Reply::Client { found: true });
    }
    let sign = Request::SignHandshake { side: Side::Client, transcript: vec![1; 32] };
    assert!(matches!(net.call(&sign, None, AMPLE).await.unwrap(), Reply::Signature(_)));
    let records = Request::Records { to: member.host.node_id.clone(), since: None, limit: u32::MAX };
    let Reply::Page(page) = net.call(&records, None, AMPLE).await.unwrap() else { panic!() };
    assert!(page.records.len() >= 5 && !page.more);
    let Reply::Summary(summary) = net.call(&Request::Summary, None, AMPLE).await.unwrap() else { panic!() };
    assert!(summary.contains_key(&node("a")) && summary.contains_key(&node("b")));
    let Reply::Stats(stats) = net.call(&Request::Stats, None, AMPLE).await.unwrap() else { panic!() };
    assert_eq!((stats.counts["clients"], stats.kem_enrolled, stats.crdt_generation), (1, true, 1));
    drop(net);
    serving.await.unwrap().unwrap();
}
