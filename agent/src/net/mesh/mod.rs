//! The mesh on the network: the endpoints for peers, and what this host does with them.

use std::sync::Arc;

use super::Error;
use super::keeper::Keeper;
use crate::ops::channel::ChannelError;

/// Follows the keeper's situation until the channel closes.
pub async fn run(keeper: Arc<Keeper>) -> Result<(), Error> {
    let mut seen = 0;
    loop {
        match keeper.watch(seen).await {
            Ok(Some(situation)) => seen = situation.number,
            Ok(None) => {}
            Err(ChannelError::Closed { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
