use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reverie_core::ipc::{self, Hello, Numbered, ProtocolError};
use reverie_sys::seqpacket;
use serde::{Deserialize, Serialize};

use super::*;

const AMPLE: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Echo(Vec<u8>),
    Never,
    Descriptors,
    End,
}

/// Answers echoes in pairs, the second first, so that replies never come in the order of the requests.
fn answer(socket: OwnedFd) {
    let mut server = Server::<Ask, Vec<u8>>::accept(socket, "test").unwrap();
    let replies = server.replies();
    let mut held = None;
    while let Some(incoming) = server.receive().unwrap() {
        match incoming.body {
            Ok(Ask::Echo(bytes)) => match held.take() {
                None => held = Some((incoming.id, bytes)),
                Some((earlier, held)) => {
                    replies.send(incoming.id, &bytes).unwrap();
                    replies.send(earlier, &held).unwrap();
                }
            },
            Ok(Ask::Never) => {}
            Ok(Ask::Descriptors) => replies.send(incoming.id, &vec![incoming.descriptors.len() as u8]).unwrap(),
            Ok(Ask::End) => return,
            Err(error) => replies.send(incoming.id, &error.to_string().into_bytes()).unwrap(),
        }
    }
}

async fn open() -> (Channel<Ask, Vec<u8>>, std::thread::JoinHandle<()>) {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let server = std::thread::spawn(move || answer(theirs));
    (Channel::connect(ours, "test").await.unwrap(), server)
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (channel, _server) = open().await;
    let channel = Arc::new(channel);
    let calls = (0..500u32).map(|n| {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move {
            // Some longer than a datagram.
            let bytes = n.to_le_bytes().repeat(if n % 50 == 0 { 50_000 } else { 1 });
            assert!(channel.call(&Ask::Echo(bytes.clone()), None, AMPLE).await.unwrap() == bytes);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_descriptor_travels_with_its_request() {
    let (channel, _server) = open().await;
    let file = tempfile::tempfile().unwrap();
    assert_eq!(channel.call(&Ask::Descriptors, Some(file.as_fd()), AMPLE).await.unwrap(), [1]);
    assert_eq!(channel.call(&Ask::Descriptors, None, AMPLE).await.unwrap(), [0]);
}

#[tokio::test]
async fn a_call_without_a_reply_ends_at_its_deadline_and_the_channel_goes_on() {
    let (channel, _server) = open().await;
    let error = channel.call(&Ask::Never, None, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ChannelError::Deadline { .. }), "{error}");
    assert!(!channel.is_closed());
    assert_eq!(channel.call(&Ask::Descriptors, None, AMPLE).await.unwrap(), [0]);
}

#[tokio::test]
async fn too_many_calls_at_once_wait_their_turn_within_their_deadline() {
    let (channel, _server) = open().await;
    let channel = Arc::new(channel);
    let stuck: Vec<_> = (0..256)
        .map(|_| {
            let channel = Arc::clone(&channel);
            tokio::spawn(async move { channel.call(&Ask::Never, None, Duration::from_secs(2)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let error = channel.call(&Ask::Descriptors, None, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ChannelError::Deadline { .. }), "{error}");
    for call in stuck {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(channel.call(&Ask::Descriptors, None, AMPLE).await.unwrap(), [0]);
}

#[tokio::test]
async fn when_the_other_process_ends_every_waiting_call_fails_at_once() {
    let (channel, _server) = open().await;
    let channel = Arc::new(channel);
    let waiting = {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move { channel.call(&Ask::Never, None, AMPLE).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = Instant::now();
    let ended = channel.call(&Ask::End, None, AMPLE).await.unwrap_err();
    assert!(matches!(ended, ChannelError::Closed { .. }), "{ended}");
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the test process is gone"), "{error}");
    assert!(before.elapsed() < AMPLE / 2);
    assert!(channel.is_closed());
    assert!(matches!(channel.call(&Ask::Never, None, AMPLE).await.unwrap_err(), ChannelError::Closed { .. }));
}

#[tokio::test]
async fn dropping_the_channel_ends_the_other_process() {
    let (channel, server) = open().await;
    drop(channel);
    let ended = async {
        while !server.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(AMPLE, ended).await.expect("the other process goes on");
    server.join().unwrap();
}

#[tokio::test]
async fn a_message_too_long_for_any_role_is_not_sent() {
    let (channel, _server) = open().await;
    let error = channel.call(&Ask::Echo(vec![0; ipc::MAX_MESSAGE]), None, AMPLE).await.unwrap_err();
    assert!(matches!(error, ChannelError::TooLong { .. }), "{error}");
    assert!(!channel.is_closed());
}

#[tokio::test]
async fn a_peer_of_another_role_or_version_is_refused() {
    for (hello, expected) in [
        (Hello::from_role("prober"), "check which unit owns the socket"),
        (Hello { version: ipc::VERSION + 1, role: "test".into() }, "restart both"),
    ] {
        let (ours, theirs) = seqpacket::pair().unwrap();
        seqpacket::send(&theirs, &ipc::encode(&hello).unwrap(), &[]).unwrap();
        let error = Channel::<Ask, Vec<u8>>::connect(ours, "test").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let (ours, theirs) = seqpacket::pair().unwrap();
    seqpacket::send(&ours, &ipc::encode(&Hello::from_role("net")).unwrap(), &[]).unwrap();
    assert!(Server::<Ask, Vec<u8>>::accept(theirs, "test").is_err());
}

#[test]
fn nonsense_with_a_number_is_answered_and_without_one_dropped() {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let server = std::thread::spawn(move || answer(theirs));
    let mut receiver = seqpacket::Receiver::new(ipc::MAX_MESSAGE);
    seqpacket::send(&ours, &ipc::encode(&Hello::from_role("keeper")).unwrap(), &[]).unwrap();
    receiver.recv(&ours).unwrap().unwrap();
    seqpacket::send(&ours, &[0xff], &[]).unwrap();
    let too_many = [ours.as_fd(); seqpacket::MAX_DESCRIPTORS];
    seqpacket::send(&ours, &ipc::encode(&(77u64, 200u8)).unwrap(), &too_many).unwrap();
    let reply: Numbered<Vec<u8>> = ipc::decode(&receiver.recv(&ours).unwrap().unwrap().bytes).unwrap();
    assert_eq!(reply.id, 77);
    assert!(String::from_utf8(reply.body).unwrap().contains("not understood"));
    drop(ours);
    server.join().unwrap();
}

#[tokio::test]
async fn a_spawned_role_has_its_channel_as_standard_input_and_little_else() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("role");
    let said = directory.path().join("said");
    // `read` waits for the end of the channel, so the file is there before the process is gone.
    let script = "#!/bin/sh\n{ echo \"$@\"; readlink /proc/self/fd/0; env; } > \"$3.new\"; mv \"$3.new\" \"$3\"\n";
    // Written by another process: a descriptor of ours, inherited for an instant by another test's child, is ETXTBSY.
    let mut write = std::process::Command::new("sh");
    write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&program).arg(script);
    assert!(write.status().unwrap().success());
    let socket = spawn_role(&program, "warden", &[&said]).unwrap();
    let error = Channel::<Ask, Vec<u8>>::connect(socket, "warden").await.unwrap_err();
    assert!(error.to_string().contains("gone") || error.to_string().contains("pipe"), "{error}");
    let text = std::fs::read_to_string(&said).unwrap();
    assert!(text.starts_with(&format!("--role warden {}\nsocket:[", said.display())), "{text}");
    assert!(text.contains("PATH=") && !text.contains("CARGO"), "{text}");
}

/// Net asks, the keeper answers.
async fn open_the_other_way(at_once: usize) -> (Channel<Ask, Vec<u8>>, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let keeper = tokio::spawn(async move {
        let answering = Answering::<Ask, Vec<u8>>::accept(theirs, "net").await.unwrap();
        let answer = |asked, _: Vec<OwnedFd>| async move {
            match asked {
                Ok(Ask::Echo(bytes)) => bytes,
                Ok(_) => std::future::pending().await,
                Err(error) => ProtocolError::to_string(&error).into_bytes(),
            }
        };
        answering.serve(at_once, answer).await.unwrap();
    });
    (Channel::connect_as(ours, "net", "keeper", 64).await.unwrap(), keeper)
}

#[tokio::test]
async fn a_role_that_asks_the_keeper_is_answered_while_another_question_takes_long() {
    let (channel, keeper) = open_the_other_way(8).await;
    let channel = Arc::new(channel);
    let long = Arc::clone(&channel);
    let long = tokio::spawn(async move { long.call(&Ask::Never, None, AMPLE).await });
    for n in 0..50u32 {
        let bytes = n.to_le_bytes().repeat(if n % 25 == 0 { 50_000 } else { 1 });
        assert!(channel.call(&Ask::Echo(bytes.clone()), None, AMPLE).await.unwrap() == bytes);
    }
    long.abort();
    let _ = long.await;
    drop(channel);
    tokio::time::timeout(AMPLE, keeper).await.expect("the keeper goes on without net").unwrap();
}

#[tokio::test]
async fn more_questions_than_the_keeper_takes_at_once_wait() {
    let (channel, _keeper) = open_the_other_way(1).await;
    let stuck = channel.call(&Ask::Never, None, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(stuck, ChannelError::Deadline { .. }), "{stuck}");
    let error = channel.call(&Ask::Echo(vec![1]), None, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ChannelError::Deadline { .. }), "{error}");
}
