//! What the roles say to each other over their socketpair: one request, one reply, matched by `id`.
//!
//! Messages are postcard, one per SOCK_SEQPACKET datagram; descriptors (a pidfd) travel beside them.
//! The first message each way is [`Hello`]: both ends are the same binary, but during an upgrade an old
//! process may meet a new one, and then they must say so rather than misread each other.
//! A further role adds a module here with its own request and reply.

pub mod gss;
pub mod net;
pub mod prober;
pub mod tunnel;
pub mod view;
pub mod warden;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of every message in this module. Raise it with any change to their shape.
pub const VERSION: u32 = 5;

/// The longest message accepted, in bytes. Larger than any generation of files.
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// The first message in each direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The role of the sender, e.g. `keeper`.
    pub role: String,
}

impl Hello {
    /// A greeting from `role`, in this binary's version.
    pub fn from_role(role: &str) -> Self {
        Self { version: VERSION, role: role.to_owned() }
    }

    /// Refuses a peer of another version or role.
    pub fn expect_role(&self, role: &str) -> Result<(), ProtocolError> {
        if self.version != VERSION {
            return Err(ProtocolError::Version { theirs: self.version, ours: VERSION });
        }
        if self.role != role {
            return Err(ProtocolError::Role { theirs: self.role.clone(), expected: role.to_owned() });
        }
        Ok(())
    }
}

/// A request or reply with the number that ties one to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Chosen by the requester; the reply repeats it.
    pub id: u64,
    /// The message.
    pub body: T,
}

/// Why a message between roles was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Two versions of the binary met.
    #[error(
        "the other process speaks version {theirs} of the internal protocol and this one {ours}; restart both after the upgrade"
    )]
    Version {
        /// What the peer said.
        theirs: u32,
        /// [`VERSION`].
        ours: u32,
    },
    /// A role was connected to the wrong socket.
    #[error("the other process is the role {theirs:?}, expected {expected:?}; check which unit owns the socket")]
    Role {
        /// What the peer said.
        theirs: String,
        /// What was to be there.
        expected: String,
    },
    /// The bytes are not a message.
    #[error("a message between two roles was not understood")]
    Malformed,
}

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    postcard::to_stdvec(message).map_err(|_| ProtocolError::Malformed)
}

/// The message in `bytes`, all of them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProtocolError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(ProtocolError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_of_another_version_is_told_to_restart() {
        let old = Hello { version: VERSION + 1, role: "warden".into() };
        let error = old.expect_role("warden").unwrap_err();
        assert!(error.to_string().contains("restart both"), "{error}");
    }

    #[test]
    fn trailing_bytes_are_malformed() {
        let mut bytes = encode(&Hello::from_role("keeper")).unwrap();
        assert_eq!(decode::<Hello>(&bytes).unwrap(), Hello::from_role("keeper"));
        bytes.push(0);
        assert_eq!(decode::<Hello>(&bytes), Err(ProtocolError::Malformed));
    }
}
