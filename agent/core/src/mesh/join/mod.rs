//! How a host becomes a member: by a one-time token, or, once its keys are registered by Kerberos, by asking for the same answer.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`token`] | the line that `mesh invite` prints |
//! | [`request`] | what the joiner sends: a proof that it holds the token, bound to its keys and to the connection |
//! | [`registration`] | what a Kerberos ticket is bound to |
//! | [`invite`] | whether a token is redeemed: once, by the host it names, in time |
//! | [`answer`] | what a new member is given |

pub mod answer;
pub mod invite;
pub mod registration;
pub mod request;
pub mod token;
