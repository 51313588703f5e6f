//! AP-REQ and AP-REP (RFC 4120 §3.2, RFC 4121), bound to the TLS channel (RFC 5929) so that a man in the middle gains nothing.

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext, ServerCtx};
use libgssapi::error::{Error, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE};
use reverie_core::ipc::gss::Reply;
use reverie_sys::gss::{AcquireError, Purpose, acquire};

/// The initiator bound the token to the channel, and it is this one (MIT krb5 1.19).
const CHANNEL_BOUND: u32 = 0x800;
/// Where a status has its routine error, which is a number and no set of flags (RFC 2744 §3.9.1).
const ROUTINE_ERROR: u32 = 0xff << 16;

/// Checks an AP-REQ. Mutual authentication and channel binding are required: without them it proves nothing about who is
/// at the other end of this connection.
pub fn accept(keytab: &str, service: Option<&str>, token: &[u8], channel_binding: &[u8]) -> Reply {
    let replay_cache = replay_cache();
    let purpose = Purpose::Accept { replay_cache: replay_cache.as_deref() };
    let credential = match acquire(keytab, &purpose) {
        Ok(credential) => credential,
        Err(error) => return no_credential(keytab, &error),
    };
    let mut context = ServerCtx::new(Some(credential));
    let answer = match context.step(token, Some(channel_binding)) {
        Ok(answer) => answer,
        Err(error) if error.major.bits() & ROUTINE_ERROR == MajorFlags::GSS_S_BAD_BINDINGS.bits() => {
            return refused(
                "the token is bound to another TLS connection: somebody stands in between, or the client took the \
                            binding from another certificate",
            );
        }
        Err(error) => return refused(&error.to_string()),
    };
    match proven(&mut context, service) {
        Ok((principal, realm)) => Reply::Accepted { principal, realm, token: answer.map(|answer| answer.to_vec()) },
        Err(reply) => reply,
    }
}

/// The initiator, and the realm of the service that the ticket is for.
fn proven(context: &mut ServerCtx, service: Option<&str>) -> Result<(String, String), Reply> {
    let failed = |error: Error| refused(&error.to_string());
    if !context.open().map_err(failed)? {
        return Err(refused("the handshake needs further tokens: use Kerberos, whose first token is enough"));
    }
    let flags = context.flags().map_err(failed)?;
    if flags.bits() & CHANNEL_BOUND == 0 {
        return Err(refused("the token is not bound to this TLS connection (tls-server-end-point, RFC 5929)"));
    }
    if !flags.contains(CtxFlags::GSS_C_MUTUAL_FLAG) {
        return Err(refused("the token does not ask for mutual authentication"));
    }
    if flags.contains(CtxFlags::GSS_C_ANON_FLAG) {
        return Err(refused("the initiator is anonymous"));
    }
    let target = shown(&context.target_name().map_err(failed)?).map_err(failed)?;
    if !is_for(&target, service) {
        return Err(refused(&format!("the token is for the service {target}")));
    }
    let realm = target.rsplit_once('@').map(|(_, realm)| realm.to_owned()).filter(|realm| !realm.is_empty());
    let realm = realm.ok_or_else(|| refused(&format!("the token is for {target}, which names no realm")))?;
    Ok((shown(&context.source_name().map_err(failed)?).map_err(failed)?, realm))
}

/// Whether `HTTP/host@REALM` is the service `HTTP@host`, or any host's.
fn is_for(target: &str, service: Option<&str>) -> bool {
    let name = target.rsplit_once('@').map_or(target, |(name, _)| name);
    match service {
        Some(service) => name == service.replacen('@', "/", 1),
        None => name.starts_with("HTTP/"),
    }
}

fn shown(name: &Name) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&name.display_name()?).into_owned())
}

/// A handshake that we began.
pub struct Initiator {
    context: ClientCtx,
    channel_binding: Vec<u8>,
}

impl Initiator {
    /// The first token, as `principal` to `target` (`HTTP@host`).
    pub fn begin(keytab: &str, principal: &str, target: &str, channel_binding: &[u8]) -> Result<(Self, Vec<u8>), Reply> {
        let credential = acquire(keytab, &Purpose::Initiate { principal }).map_err(|error| no_credential(keytab, &error))?;
        let unavailable = |error: Error| Reply::Unavailable {
            message: format!(
                "no ticket for {target} could be had as {principal}: {error}; is the KDC reachable, and is {target} \
                              known to it?"
            ),
        };
        let target_name = Name::new(target.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)).map_err(unavailable)?;
        let flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
        let mut context = ClientCtx::new(Some(credential), target_name, flags, Some(GSS_MECH_KRB5));
        let token = context.step(None, Some(channel_binding)).map_err(unavailable)?;
        let token = token.map(|token| token.to_vec()).unwrap_or_default();
        Ok((Self { context, channel_binding: channel_binding.to_vec() }, token))
    }

    /// Checks the other side's answer.
    pub fn finish(&mut self, token: &[u8]) -> Reply {
        match self.context.step(Some(token), Some(&self.channel_binding)) {
            Ok(_) if self.context.open().unwrap_or(false) => Reply::Proven,
            Ok(_) => refused("the other side did not finish the handshake"),
            Err(error) => refused(&format!("the other side did not prove who it is: {error}")),
        }
    }
}

fn refused(message: &str) -> Reply {
    Reply::Refused { message: message.to_owned() }
}

fn no_credential(keytab: &str, error: &AcquireError) -> Reply {
    let message = format!(
        "the keytab {keytab} cannot be used: {error}; is it there, does it hold this host's HTTP service, and may the user of the \
         role gss (reverie-gss) read it?"
    );
    Reply::Unavailable { message }
}

/// Processes of this role come and go: what they have seen lies in a file. libkrb5's own default would be private to each.
fn replay_cache() -> Option<String> {
    let directory = std::env::var_os("STATE_DIRECTORY").or_else(|| std::env::var_os("XDG_RUNTIME_DIR"))?;
    let directory = directory.into_string().ok().filter(|directory| directory.starts_with('/'))?;
    Some(format!("file2:{directory}/reverie.rcache2"))
}

#[cfg(test)]
mod tests {
    use super::is_for;

    #[test]
    fn a_service_whose_name_only_begins_alike_is_another() {
        let service = Some("HTTP@a.example.org");
        assert!(is_for("HTTP/a.example.org@EXAMPLE.ORG", service) && is_for("HTTP/a.example.org", service));
        for other in [
            "HTTP/a.example.org.evil@EXAMPLE.ORG",
            "HTTP/a.example.orgx@EXAMPLE.ORG",
            "host/a.example.org@EXAMPLE.ORG",
            "HTTP/a@b",
        ] {
            assert!(!is_for(other, service), "{other}");
        }
        assert!(is_for("HTTP/b.example.org@EXAMPLE.ORG", None) && !is_for("host/b@EXAMPLE.ORG", None));
    }
}
