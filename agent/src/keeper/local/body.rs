//! The body of a request: read when it is wanted, no larger than its operation allows, and only so many at once.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use reverie_core::api::{Code, Problem};
use zeroize::Zeroizing;

use super::answer::Failure;
use crate::ops::shares::{Share, Shares};

/// All bodies that are held at once, in bytes, and those of one uid: a dribbling caller holds on to what it announced.
const MAX_HELD: u32 = 16 * 1024 * 1024;
const MAX_HELD_PER_UID: u32 = MAX_HELD / 4;
/// How long a body may take to come.
const DEADLINE: Duration = Duration::from_secs(10);

/// What bodies are held: administrators' apart, so that they always get through.
#[derive(Debug, Default)]
pub struct Bodies {
    /// From `agent.sock`.
    pub local: Arc<Shares<u32>>,
    /// From `admin.sock`.
    pub admin: Arc<Shares<u32>>,
}

/// A body that was announced.
pub struct Unread {
    incoming: Mutex<Option<Incoming>>,
    limit: usize,
}

/// A body that was read, counted until it is dropped.
pub struct Body {
    bytes: Zeroizing<Vec<u8>>,
    _share: Share<u32>,
}

impl Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn too_large(limit: usize) -> Failure {
    match limit {
        0 => Problem::new(Code::TooLarge, "this request takes no body").into(),
        _ => Problem::new(Code::TooLarge, format!("the request is larger than {limit} bytes")).into(),
    }
}

impl Unread {
    /// Refuses one that is announced to be larger than `limit`.
    pub fn new(incoming: Incoming, limit: usize) -> Result<Self, Failure> {
        // Of unknown length: it is known not to be empty.
        let announced = incoming.size_hint().exact().unwrap_or(u64::from(!incoming.is_end_stream()));
        match announced > limit as u64 {
            true => Err(too_large(limit)),
            false => Ok(Self { incoming: Mutex::new(Some(incoming)), limit }),
        }
    }

    /// Reads it, the first time; later it is empty.
    pub async fn read(&self, held: &Arc<Shares<u32>>, uid: u32) -> Result<Body, Failure> {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).take();
        let most = incoming.as_ref().map_or(0, |incoming| incoming.size_hint().exact().unwrap_or(self.limit as u64));
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let share = held.take(uid, most, MAX_HELD, MAX_HELD_PER_UID).ok_or_else(|| {
            Problem::new(Code::TooMany, "too many requests with a body are on their way").advise("try again in a second")
        })?;
        let read = async {
            // At once in its full size: a vector that grows leaves copies behind, and this may be a secret.
            let mut bytes = Zeroizing::new(Vec::with_capacity(most as usize));
            let Some(mut incoming) = incoming else { return Ok(bytes) };
            while let Some(frame) = incoming.frame().await {
                let frame = frame.map_err(|_| Problem::new(Code::Malformed, "the request ended before its body did"))?;
                let data = frame.data_ref().map_or(&[][..], |data| data);
                if bytes.len() + data.len() > self.limit {
                    return Err(too_large(self.limit));
                }
                bytes.extend_from_slice(data);
            }
            Ok(bytes)
        };
        let bytes = tokio::time::timeout(DEADLINE, read).await.map_err(|_| {
            let seconds = DEADLINE.as_secs();
            Problem::new(Code::Malformed, format!("the request's body did not come within {seconds} s"))
        })??;
        Ok(Body { bytes, _share: share })
    }
}
