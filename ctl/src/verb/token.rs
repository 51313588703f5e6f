//! `agentctl token`: capability tokens.

use std::path::PathBuf;
use std::time::Duration;

use reverie_core::api::Operation;
use reverie_core::api::admin::{Health, MintRequest, Minted, RevokeTokenRequest, TokenKey};
use reverie_core::capability::{self, Grant, Presented, Restriction, TokenError};
use reverie_core::moment::Moment;
use zeroize::Zeroizing;

use crate::cli::{Session, span};
use crate::client::Call;
use crate::failure::{Exit, Failure, Outcome};
use crate::presented::Token;
use crate::screen::{date, plain, plain_block};

/// Capability tokens: permission to do a few things, handed on
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Mint a token; it is printed on standard output
    Mint {
        /// An operation, e.g. 'cert rotate web', 'secret read *'; may be repeated
        #[arg(long, required = true, value_name = "OPERATION")]
        allow: Vec<GrantText>,
        /// How long it is good, at most 30d
        #[arg(long, value_name = "SPAN", value_parser = span)]
        ttl: Duration,
        /// Only for callers of this uid
        #[arg(long)]
        uid: Option<u32>,
    },
    /// Make a token narrower, without the agent
    #[command(group = clap::ArgGroup::new("restriction").required(true).multiple(true).args(["allow", "ttl", "uid"]))]
    Attenuate {
        /// Only this operation; may be repeated
        #[arg(long, value_name = "OPERATION")]
        allow: Vec<GrantText>,
        /// Not longer than this from now
        #[arg(long, value_name = "SPAN", value_parser = span)]
        ttl: Option<Duration>,
        /// Only for callers of this uid
        #[arg(long)]
        uid: Option<u32>,
        #[command(flatten)]
        token: TokenInput,
    },
    /// Show what a token says, without checking who signed it
    Inspect {
        #[command(flatten)]
        token: TokenInput,
    },
    /// Check that a token allows an operation now, without the agent
    Verify {
        /// The public key, as `agentctl token key` prints it
        #[arg(long, value_name = "ed25519/HEX")]
        public_key: String,
        /// The operation
        #[arg(long, value_name = "OPERATION")]
        operation: GrantText,
        /// The caller's uid [default: yours]
        #[arg(long)]
        uid: Option<u32>,
        #[command(flatten)]
        token: TokenInput,
    },
    /// Revoke a token and everything attenuated from it
    Revoke {
        /// Its revocation id, as `mint` and `inspect` print it
        id: RevocationId,
    },
    /// Print the public key that verifies tokens
    Key,
}

/// Where the token to work on comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenInput {
    /// File that holds the token [env: REVERIE_TOKEN] [default: standard input]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// An operation, parsed by the core.
#[derive(Debug, Clone)]
pub(crate) struct GrantText(Grant);

impl std::str::FromStr for GrantText {
    type Err = capability::InvalidGrant;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Hexadecimal digits.
#[derive(Debug, Clone)]
pub(crate) struct RevocationId(String);

impl std::str::FromStr for RevocationId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (32..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => Ok(Self(text.to_lowercase())),
            false => Err("a revocation id is hexadecimal: `agentctl token inspect` prints it"),
        }
    }
}

impl TokenInput {
    fn require(&self) -> Result<Token, Failure> {
        Token::require(self.token_file.as_deref())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Mint { allow, ttl, uid } => mint(session, &allow, ttl, uid).await,
            Self::Attenuate { allow, ttl, uid, token } => attenuate(session, allow, ttl, uid, &token.require()?),
            Self::Inspect { token } => inspect(session, &token.require()?),
            Self::Verify { public_key, operation, uid, token } => {
                verify(session, &public_key, &operation.0, uid, &token.require()?)
            }
            Self::Revoke { id } => revoke(session, id.0).await,
            Self::Key => {
                let key: TokenKey = session.client.call(Call::of(Operation::TokenKey)).await?;
                session.screen.show(&key, |key| format!("{}\n", plain(&key.public_key)))
            }
        }
    }
}

async fn mint(session: &Session, allow: &[GrantText], ttl: Duration, uid: Option<u32>) -> Outcome {
    let allow = allow.iter().map(|grant| grant.0.to_string()).collect();
    let request = MintRequest { allow, ttl_seconds: ttl.as_secs().max(1), uid };
    let minted: Minted = session.client.call(Call::of(Operation::MintToken).body(&request)?).await?;
    session.screen.note(format_args!(
        "good until {}\nto revoke it: agentctl token revoke {}",
        date(minted.expires_at),
        plain(&minted.revocation_id)
    ));
    session.screen.show(&minted, |minted| format!("{}\n", plain(&minted.token)))
}

fn attenuate(session: &Session, allow: Vec<GrantText>, ttl: Option<Duration>, uid: Option<u32>, token: &Token) -> Outcome {
    let mut key = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *key).map_err(|_| Failure::new(Exit::Internal, "the random number generator failed"))?;
    let only = allow.into_iter().map(|grant| grant.0).collect();
    let restriction = Restriction { only, expires_at: ttl.map(|ttl| now().after(ttl)), uid };
    let narrower = capability::attenuate(token.as_str(), &key, &restriction).map_err(refused)?;
    match session.screen.json {
        true => session.screen.json(&serde_json::json!({ "token": narrower })),
        false => session.screen.text(&narrower),
    }
}

fn inspect(session: &Session, token: &Token) -> Outcome {
    let inspection = capability::inspect(token.as_str()).map_err(refused)?;
    session.screen.show(&inspection, |inspection| {
        let blocks = inspection.blocks.iter().zip(&inspection.revocation_ids).enumerate();
        let show = |(index, (block, id)): (usize, (&String, &String))| {
            let kind = if index == 0 { "minted".to_owned() } else { format!("restriction {index}") };
            let lines: String = plain_block(block.trim_end()).lines().map(|line| format!("  {line}\n")).collect();
            format!("{kind}, revocation id {}\n{lines}", plain(id))
        };
        blocks.map(show).collect::<String>() + "Who signed it was not checked; `agentctl token verify` does.\n"
    })
}

fn verify(session: &Session, public_key: &str, operation: &Grant, uid: Option<u32>, token: &Token) -> Outcome {
    let wrong_key = |error: TokenError| match error {
        TokenError::Malformed(why) => Failure::new(Exit::Usage, format_args!("this is not a public key: {why}")),
        other => Failure::new(Exit::Usage, other),
    };
    let key = capability::parse_public_key(public_key)
        .map_err(|error| wrong_key(error).advise("give it as `agentctl token key` prints it"))?;
    let uid = uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    let presented = Presented { operation, uid, now: now() };
    // Revocations are known to the agent alone; the answer says so.
    let ids = capability::authorize(token.as_str(), key, &presented, |_| false).map_err(refused)?;
    session.screen.note("Revocations are known to the agent alone and were not checked.");
    let verified = serde_json::json!({ "allowed": true, "operation": operation.to_string(), "uid": uid, "revocation_ids": ids });
    session.screen.show(&verified, |_| format!("allowed: {operation} for uid {uid}\n"))
}

async fn revoke(session: &Session, id: String) -> Outcome {
    let call = Call::of(Operation::RevokeToken).body(&RevokeTokenRequest { revocation_id: id.clone() })?;
    let done: Health = session.client.call(call).await?;
    session.screen.show(&done, |_| format!("revoked {id} and everything attenuated from it\n"))
}

fn refused(error: TokenError) -> Failure {
    let (exit, advice) = match &error {
        TokenError::Malformed(_) => (Exit::Data, "give the token as `agentctl token mint` printed it"),
        TokenError::NotOurs => (Exit::NotPermitted, "use the public key of the host that minted it: agentctl token key"),
        TokenError::Refused { .. } => (Exit::NotPermitted, "see what it allows: agentctl token inspect"),
        TokenError::Revoked => (Exit::NotPermitted, "ask for a new one"),
    };
    // Biscuit announces a list of failed checks even where there is none.
    let what = error.to_string();
    Failure::new(exit, what.trim_end().trim_end_matches(", and the following checks failed:")).advise(advice)
}

pub(crate) fn now() -> Moment {
    Moment::from(time::OffsetDateTime::now_utc())
}
