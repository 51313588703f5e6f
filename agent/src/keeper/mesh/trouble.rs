//! Why something about membership is not done: told to an administrator as a problem, to a peer as a refusal.

use reverie_core::api::{Code, Problem};
use reverie_core::ipc::net;
use reverie_core::mesh::membership::Refusal;

use super::MeshError;
use crate::keeper::identity::delegation::DelegationError;
use crate::keeper::identity::membership::MembershipError;
use crate::keeper::local::answer::Failure;
use crate::keeper::row::RowError;
use crate::keeper::state::StateError;

/// What happened, then what to try.
#[derive(Debug)]
pub enum Trouble {
    /// It may not be, or makes no sense here.
    Refused(Refusal),
    /// The mesh's records cannot be read or written.
    Mesh(MeshError),
    /// It cannot be done now.
    Unavailable {
        /// What happened.
        message: String,
        /// What to try.
        advice: String,
    },
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Mesh(error) => error.fmt(f),
            Self::Unavailable { message, advice } => write!(f, "{message}; {advice}"),
        }
    }
}

impl Trouble {
    /// It cannot be done now.
    pub fn unavailable(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), advice: advice.into() }
    }

    /// For a peer: what it may know, and no more.
    pub fn into_reply(self) -> net::Reply {
        match self {
            Self::Refused(refusal) => net::Reply::Refused { status: refusal.status, message: refusal.to_string() },
            other => net::Reply::Failed { message: other.to_string() },
        }
    }

    /// For an administrator.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Refused(refusal) => {
                let code = match refusal.status {
                    400 => Code::Malformed,
                    401 | 403 => Code::NotPermitted,
                    404 => Code::NotFound,
                    409 => Code::Conflict,
                    422 => Code::BadRequest,
                    _ => Code::Unavailable,
                };
                Problem::new(code, refusal.message).advise(refusal.advice)
            }
            Self::Mesh(error @ (MeshError::NotIn(_) | MeshError::AlreadyIn | MeshError::Cloned)) => {
                let text = error.to_string();
                match text.split_once("; ") {
                    Some((what, advice)) => Problem::new(Code::Conflict, what).advise(advice),
                    None => Problem::new(Code::Conflict, text),
                }
            }
            Self::Mesh(error) => Problem::new(Code::Unavailable, error.to_string()),
            Self::Unavailable { message, advice } => Problem::new(Code::Unavailable, message).advise(advice),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        trouble.into_problem().into()
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<MeshError> for Trouble {
    fn from(error: MeshError) -> Self {
        Self::Mesh(error)
    }
}

impl From<StateError> for Trouble {
    fn from(error: StateError) -> Self {
        Self::Mesh(error.into())
    }
}

impl From<RowError> for Trouble {
    fn from(error: RowError) -> Self {
        Self::Mesh(error.into())
    }
}

impl From<reverie_core::mesh::crypto::CryptoFailure> for Trouble {
    fn from(error: reverie_core::mesh::crypto::CryptoFailure) -> Self {
        Self::Mesh(error.into())
    }
}

impl From<DelegationError> for Trouble {
    fn from(error: DelegationError) -> Self {
        let message = error.to_string();
        match error {
            DelegationError::Refused(_) => Refusal::new(400, message, "use the same version of Reverie on both hosts").into(),
            DelegationError::Limits(_) => Refusal::new(422, message, "set other limits").into(),
            DelegationError::TooMany { .. } => Refusal::new(409, message, "or wait until some have ended").into(),
            _ => Self::unavailable(message, "agentctl status shows what is wrong with the certificate authority"),
        }
    }
}

impl From<MembershipError> for Trouble {
    fn from(error: MembershipError) -> Self {
        Self::unavailable(error.to_string(), "agentctl status shows what is wrong with the certificate authority")
    }
}
