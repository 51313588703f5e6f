//! Reading and checking the audit log.

use reverie_core::api::admin::{AuditLines, AuditVerdict};
use reverie_core::api::{Code, Problem};

use crate::keeper::local::answer::{Answer, Failure, Reply};
use crate::keeper::local::call::Call;

/// Lines in one answer.
const MAX_LINES: usize = 1000;

pub async fn lines(call: &Call<'_>) -> Answer {
    let number = |key: &str| -> Result<Option<u64>, Failure> {
        let wrong = |_| Problem::new(Code::Malformed, format!("{key:?} must be a whole number"));
        Ok(call.query(key).map(str::parse).transpose().map_err(wrong)?)
    };
    let head = call.keeper.state.audit_head();
    let limit = number("limit")?.map_or(100, |limit| usize::try_from(limit).unwrap_or(MAX_LINES)).clamp(1, MAX_LINES);
    let after = number("after")?.unwrap_or_else(|| head.seq.saturating_sub(limit as u64));
    let state = call.keeper.state.clone();
    let lines = blocking(move || state.audit_lines(after, limit)).await??;
    Reply::json(&AuditLines { lines, head })
}

pub async fn verify(call: &Call<'_>) -> Answer {
    let state = call.keeper.state.clone();
    let (report, signed) = blocking(move || state.audit_verify()).await??;
    Reply::json(&AuditVerdict { report, signed, public_key: call.keeper.state.audit_public_key_pem() })
}

/// Reading files takes its time: not on the threads that serve.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::new(Code::Internal, "reading the audit log failed").into())
}
