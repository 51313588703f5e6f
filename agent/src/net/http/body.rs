//! Bodies: never more than allowed, never longer than allowed, refused by their announced length before a byte is read.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::CONTENT_TYPE;

use super::Refusal;

/// The whole body of a request.
pub async fn read(body: Incoming, limit: usize, within: Duration) -> Result<Vec<u8>, Refusal> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::too_large(limit));
    }
    match tokio::time::timeout(within, collect(body, limit)).await {
        Err(_) => Err(Refusal::new(408, "timeout", "the body did not come in time; send it faster")),
        Ok(Err(Fault::TooLarge)) => Err(Refusal::too_large(limit)),
        Ok(Err(Fault::Broken(_))) => Err(Refusal::malformed("the body broke off; send it again")),
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

/// The whole body of an answer. The caller sets the deadline.
pub async fn read_response(body: Incoming, limit: usize) -> Result<Vec<u8>, String> {
    collect(body, limit).await.map_err(|fault| match fault {
        Fault::TooLarge => format!("its answer is larger than {limit} bytes"),
        Fault::Broken(error) => format!("its answer broke off ({error})"),
    })
}

enum Fault {
    TooLarge,
    Broken(hyper::Error),
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Vec<u8>, Fault> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Fault::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data: Bytes = frame.map_err(Fault::Broken)?.into_data().unwrap_or_default();
        if bytes.len() + data.len() > limit {
            return Err(Fault::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The media type, without parameters, in lower case.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
