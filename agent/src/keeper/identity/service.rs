//! Telling a service of new files, and seeing that it serves them.

use std::time::Duration;

use reverie_core::ca::Serial;
use reverie_core::config::{Identity, Reload, Verify};
use reverie_core::ipc::{prober, warden};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::keeper::Keeper;
use crate::keeper::outlet::files;
use crate::keeper::roles::{RoleError, WORK_DEADLINE};
use crate::ops::host::Scope;

/// How often a service is asked what it serves before it counts as an alarm; a reload takes a moment.
const ATTEMPTS: u32 = 6;

/// Tells the service; returns how.
pub async fn tell(keeper: &Keeper, identity: &Identity, uid: Option<u32>, reload: &Reload) -> Result<String, RoleError> {
    let (request, how) = match reload {
        Reload::Unit(unit) => {
            let user_manager = keeper.host.scope == Scope::User;
            (warden::Reload::Unit { unit: unit.clone(), user_manager }, format!("reloaded {unit}"))
        }
        Reload::Signal { signal, pidfile } => {
            let unit = identity.matches.unit.clone();
            (warden::Reload::Signal { signal: *signal, pidfile: pidfile.clone(), unit, uid }, format!("signalled {pidfile}"))
        }
        Reload::Command(argv) => {
            (warden::Reload::Command { argv: argv.clone() }, format!("ran {}", argv.first().map_or("", String::as_str)))
        }
        Reload::Redis(socket) => {
            let directory = files::read_at(&keeper.host.run, identity);
            (warden::Reload::Redis { socket: socket.clone(), directory }, format!("set anew in redis at {socket}"))
        }
    };
    match keeper.roles.warden(&warden::Request::Reload(request), None, WORK_DEADLINE).await? {
        warden::Reply::Reloaded => Ok(how),
        warden::Reply::NotRunning => Ok("not running: it reads the new files when it starts".to_owned()),
        _ => Err(RoleError::OutOfStep("warden")),
    }
}

/// Connects until the new serial is seen; returns where. The last thing seen is the error.
pub async fn see_served(keeper: &Keeper, serial: &Serial, verify: &Verify) -> Result<String, String> {
    let host = verify.address.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    let request = prober::Request {
        address: verify.address.clone(),
        preamble: verify.preamble,
        server_name: Some(host.to_owned()).filter(|host| host.parse::<std::net::IpAddr>().is_err()),
        timeout_ms: 3000,
    };
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
        last = match keeper.roles.probe(&request).await {
            Ok(leaf) => match serial_of(&leaf) {
                Some(served) if served == serial.as_bytes() => return Ok(verify.to_string()),
                Some(served) => format!("{verify} still serves the certificate {}", data_encoding::HEXLOWER.encode(&served)),
                None => format!("{verify} serves something that is no certificate"),
            },
            Err(error) => error.to_string(),
        };
    }
    Err(last)
}

fn serial_of(der: &[u8]) -> Option<Vec<u8>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate.raw_serial().to_vec())
}
