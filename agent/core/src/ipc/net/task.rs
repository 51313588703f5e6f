//! What the keeper wants done on the network.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::mesh::crypto::{Kid, SigningPublicKey};

/// A thing to do on the network, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Reported with it.
    pub number: u64,
    /// What.
    pub what: TaskKind,
}

/// Kinds of tasks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// Join by token at that address, whose server must present this key: connect, [`Request::PrepareJoin`], post, open the
    /// answer's envelope, report its plaintext.
    Join {
        /// `host:port`.
        address: String,
        /// The issuing host's key, pinned by the token.
        server_key: SigningPublicKey,
    },
    /// Join by Kerberos at that address: connect, [`Request::PrepareKerberos`], `register-kem`,
    /// [`Request::FinishKerberos`], then `POST /api/mesh/join` with the body that this returns, and report as above.
    JoinByKerberos {
        /// `host:port`.
        address: String,
    },
    /// Ask that authority for an intermediate; the body is a signed and sealed renewal request's plaintext.
    Renew {
        /// Whom.
        authority: NodeId,
        /// CBOR of `mesh::renewal::RenewalRequest`.
        payload: Vec<u8>,
    },
    /// Pull the wrapping key from a peer; the report is the opened plaintext.
    PullWrappingKey {
        /// From whom.
        from: NodeId,
        /// To be found again inside.
        nonce: [u8; 16],
    },
    /// Drop every connection to whoever uses these keys.
    Disconnect {
        /// Keys.
        kids: Vec<Kid>,
    },
    /// Try the peers that are backed off at once.
    RetryNow,
}

impl std::fmt::Debug for TaskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Join { address, .. } => write!(f, "Join({address})"),
            Self::JoinByKerberos { address } => write!(f, "JoinByKerberos({address})"),
            Self::Renew { authority, .. } => write!(f, "Renew({authority})"),
            Self::PullWrappingKey { from, .. } => write!(f, "PullWrappingKey({from})"),
            Self::Disconnect { kids } => write!(f, "Disconnect({kids:?})"),
            Self::RetryNow => write!(f, "RetryNow"),
        }
    }
}
