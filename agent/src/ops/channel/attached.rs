//! What is longer than a message may be goes beside one, in a sealed memfd.

use std::os::fd::{AsFd, OwnedFd};

use reverie_core::ipc;
use reverie_sys::sealed;
use serde::{Serialize, de::DeserializeOwned};

use super::ChannelError;

/// To be sent with [`Answer::with`](super::Answer::with).
pub fn attach<T: Serialize>(value: &T, limit: usize) -> Result<OwnedFd, ChannelError> {
    let bytes = ipc::encode(value)?;
    match bytes.len() > limit {
        true => Err(ChannelError::TooLong { bytes: bytes.len(), limit }),
        false => Ok(sealed::seal(&bytes)?),
    }
}

/// What came beside a message.
pub fn detach<T: DeserializeOwned>(memfd: impl AsFd, limit: usize) -> Result<T, ChannelError> {
    Ok(ipc::decode(&sealed::read(memfd, limit)?)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_attached_comes_out_the_same_and_neither_too_long_nor_changeable() {
        let long: Vec<u64> = (0..2_000_000).collect();
        let limit = 32 << 20;
        let memfd = attach(&long, limit).unwrap();
        assert!(detach::<Vec<u64>>(&memfd, limit).unwrap() == long);
        assert!(matches!(attach(&long, 1 << 20).unwrap_err(), ChannelError::TooLong { .. }));
        assert!(detach::<Vec<u64>>(&memfd, 1 << 20).is_err());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&ipc::encode(&long).unwrap()).unwrap();
        assert!(detach::<Vec<u64>>(&file, limit).is_err(), "its owner could change it");
    }
}
