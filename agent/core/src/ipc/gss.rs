//! Keeper → gss: Kerberos, one question for each process. libkrb5 has no deadlines of its own; the process is killed.

use serde::{Deserialize, Serialize};

/// One question.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Checks an AP-REQ (RFC 4559: SPNEGO or plain krb5) for the local HTTP service.
    Accept {
        /// The keytab's path.
        keytab: String,
        /// The service, `HTTP@host`, or none for any key of the keytab.
        service: Option<String>,
        /// The token.
        token: Vec<u8>,
        /// Application data (`mesh::join::registration`); must match if the initiator sent any, and it must have.
        channel_binding: Vec<u8>,
    },
    /// Makes an AP-REQ as the host, from its keytab.
    Initiate {
        /// The keytab's path.
        keytab: String,
        /// Our principal, `HTTP/host@REALM` or without a realm.
        principal: String,
        /// The other side, `HTTP@host`.
        target: String,
        /// As above.
        channel_binding: Vec<u8>,
    },
    /// Checks the AP-REP to the [`Request::Initiate`] before it in this process.
    Finish {
        /// The token.
        token: Vec<u8>,
    },
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accept { .. } => "Accept",
            Self::Initiate { .. } => "Initiate",
            Self::Finish { .. } => "Finish",
        })
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Accept`].
    Accepted {
        /// The initiator, `name@REALM`.
        principal: String,
        /// Realm of the service that the ticket is for, as the keytab has it.
        realm: String,
        /// AP-REP.
        token: Option<Vec<u8>>,
    },
    /// To [`Request::Initiate`].
    Token(Vec<u8>),
    /// To [`Request::Finish`]: the other side is who we meant.
    Proven,
    /// The token is not accepted: 401.
    Refused {
        /// Why, for the log.
        message: String,
    },
    /// No credential, no KDC: 503.
    Unavailable {
        /// What happened, then what to try.
        message: String,
    },
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted { principal, .. } => write!(f, "Accepted({principal})"),
            Self::Token(_) => f.write_str("Token"),
            Self::Proven => f.write_str("Proven"),
            Self::Refused { message } => write!(f, "Refused({message:?})"),
            Self::Unavailable { message } => write!(f, "Unavailable({message:?})"),
        }
    }
}
