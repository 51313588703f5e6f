//! Reading an answer: bounded, wiped afterwards, refusals turned into failures.

use std::path::Path;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use reverie_core::api::Problem;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::failure::{broken, too_large, unreadable};
use crate::failure::Failure;

/// The largest answer that is read: a thousand audit lines are far below it.
const MAX_BYTES: usize = 16 << 20;

pub(super) async fn read_json<T: DeserializeOwned>(socket: &Path, response: Response<Incoming>) -> Result<T, Failure> {
    if !response.status().is_success() {
        return Err(refusal(socket, response).await);
    }
    let bytes = collect(socket, response.into_body()).await?;
    serde_json::from_slice(&bytes).map_err(|why| unreadable(socket, &describe(&why)))
}

/// What the agent said no with.
pub(super) async fn refusal(socket: &Path, response: Response<Incoming>) -> Failure {
    let status = response.status().as_u16();
    let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_problem = media.split(';').next().is_some_and(|media| media.trim() == "application/problem+json");
    if !is_problem {
        return unreadable(socket, &format!("HTTP status {status} without an explanation"));
    }
    match collect(socket, response.into_body()).await {
        Ok(bytes) => match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => problem.into(),
            Err(why) => unreadable(socket, &format!("HTTP status {status}, {}", describe(&why))),
        },
        Err(failure) => failure,
    }
}

/// Where and why, without a piece of the text itself: it may be a secret.
fn describe(why: &serde_json::Error) -> String {
    let kind = match why.classify() {
        serde_json::error::Category::Data => "an unexpected shape",
        serde_json::error::Category::Eof => "cut off",
        _ => "not JSON",
    };
    format!("{kind} at line {} column {}", why.line(), why.column())
}

async fn collect(socket: &Path, mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_BYTES {
        return Err(too_large(socket, MAX_BYTES));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(announced.max(4096)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| broken(socket, &why))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > MAX_BYTES {
            return Err(too_large(socket, MAX_BYTES));
        }
        if bytes.len() + data.len() > bytes.capacity() {
            // Not Vec's own growth: that would leave the old bytes behind.
            let mut larger = Zeroizing::new(Vec::with_capacity((bytes.capacity() * 2).max(bytes.len() + data.len())));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}
