//! Credentials for systemd units: what the service manager asks for, when it may be believed, and for whom a rule is.
//!
//! For `LoadCredential=ID:/run/reverie/credentials.sock` the service manager connects from an abstract address that names unit
//! and credential, and reads to the end (systemd.exec(5)). The address can be chosen by whoever connects, so it counts only
//! from the service manager itself, within the cgroup of that very unit.

use std::fmt;
use std::str::FromStr;

use crate::caller::{Caller, Pinning};
use crate::certificate_file::CertificateFile;
use crate::id::{IdentityName, SecretName};

/// Bytes of unit and credential together that fit into an address (107 bytes: a NUL, 16 hexadecimal digits, `/unit/`, `/`).
pub const MAX_NAMES: usize = 83;
/// The longest abstract address, in bytes, without its NUL.
const MAX_ADDRESS: usize = 106;

/// The programs that load credentials; from systemd 255 on it is the second. Each is compared by device and inode.
const SERVICE_MANAGERS: [&str; 4] =
    ["/usr/lib/systemd/systemd", "/usr/lib/systemd/systemd-executor", "/lib/systemd/systemd", "/lib/systemd/systemd-executor"];

/// What an address says: not yet whether that is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    /// The unit, e.g. `nginx.service`.
    pub unit: &'a str,
    /// The credential.
    pub id: &'a str,
}

/// An address that systemd does not connect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not connect from an address such as systemd has (\"\\0HEX/unit/UNIT/CREDENTIAL\")")]
pub struct NoAddress;

impl<'a> Address<'a> {
    /// From an abstract socket address without its NUL.
    pub fn parse(address: &'a [u8]) -> Result<Self, NoAddress> {
        let text = std::str::from_utf8(address).ok().filter(|text| text.len() <= MAX_ADDRESS).ok_or(NoAddress)?;
        let mut parts = text.split('/');
        let (Some(nonce), Some("unit"), Some(unit), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoAddress);
        };
        let is_nonce =
            (1..=16).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let is_unit = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        let is_id = |byte: u8| byte.is_ascii_graphic();
        match is_nonce && !unit.is_empty() && unit.bytes().all(is_unit) && !id.is_empty() && id.bytes().all(is_id) {
            true => Ok(Self { unit, id }),
            false => Err(NoAddress),
        }
    }
}

/// What a credential is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `IDENTITY.crt`, `.key`, `.ca` or `.pem`.
    Identity(IdentityName, CertificateFile),
    /// `secret.NAME`. An identity whose name begins so cannot be had as a credential.
    Secret(SecretName),
}

/// The files of an identity that are credentials too, with what ends the credential's name.
const ENDINGS: [(CertificateFile, &str); 4] = [
    (CertificateFile::Chain, ".crt"),
    (CertificateFile::Key, ".key"),
    (CertificateFile::Ca, ".ca"),
    (CertificateFile::Combined, ".pem"),
];

/// A credential that there is not, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such credential; its name must be IDENTITY.crt, IDENTITY.key, IDENTITY.ca, IDENTITY.pem or secret.NAME")]
pub struct NoCredential;

impl FromStr for Wanted {
    type Err = NoCredential;
    fn from_str(id: &str) -> Result<Self, NoCredential> {
        if let Some(name) = id.strip_prefix("secret.") {
            return name.parse().map(Self::Secret).map_err(|_| NoCredential);
        }
        let named = |(file, end): (CertificateFile, &str)| Some(Self::Identity(id.strip_suffix(end)?.parse().ok()?, file));
        ENDINGS.into_iter().find_map(named).ok_or(NoCredential)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "secret.{name}"),
            Self::Identity(name, file) => {
                let end = ENDINGS.iter().find(|(known, _)| known == file).map_or("", |(_, end)| end);
                write!(f, "{name}{end}")
            }
        }
    }
}

/// Why an address is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// Another user's process.
    #[error("it connects as uid {0}, and only the system's service manager, which is root, is given credentials")]
    NotRoot(u32),
    /// Linux before 6.5.
    #[error("this kernel has no SO_PEERPIDFD (Linux 6.5), so it cannot be told whether this is the service manager")]
    NotPinned,
    /// Another program.
    #[error("it runs {0}, not systemd or systemd-executor")]
    OtherProgram(String),
    /// In the cgroup of another unit, or of none.
    #[error("it says that it is of {said}, and its cgroup is that of {found}")]
    OtherUnit {
        /// The unit in the address.
        said: String,
        /// The unit of its cgroup.
        found: String,
    },
}

/// Is it the service manager, in the cgroup of that unit? Then what it is given goes to that unit.
pub fn believe(caller: &Caller, unit: &str) -> Result<(), Disbelief> {
    if caller.is_unknown() || caller.uid != 0 {
        return Err(Disbelief::NotRoot(caller.uid));
    }
    if caller.pinning != Pinning::Pidfd {
        return Err(Disbelief::NotPinned);
    }
    let Some(exe) = &caller.exe else { return Err(Disbelief::OtherProgram("no file".to_owned())) };
    if !exe.verified_path().is_some_and(|path| SERVICE_MANAGERS.contains(&path)) {
        let shown: String = exe.shown_path.chars().take(200).collect();
        return Err(Disbelief::OtherProgram(match exe.is_that_file {
            true => format!("{shown:?}"),
            false => format!("{shown:?} (but another file is at that path)"),
        }));
    }
    match caller.unit() {
        Some(found) if found == unit => Ok(()),
        found => {
            let found = found.map_or_else(|| "no system unit".to_owned(), |found| found.chars().take(255).collect());
            Err(Disbelief::OtherUnit { said: unit.to_owned(), found })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::caller::Executable;

    #[test]
    fn the_address_that_systemd_has_is_read() {
        let parsed = Address::parse(b"75fbe09ef56c77b8/unit/web@a-b.service/web.key").unwrap();
        assert_eq!(parsed, Address { unit: "web@a-b.service", id: "web.key" });
        let longest = format!("{}/unit/{}/{}", "f".repeat(16), "u".repeat(40), "i".repeat(43));
        assert!(Address::parse(longest.as_bytes()).is_ok_and(|parsed| parsed.unit.len() + parsed.id.len() == MAX_NAMES));
        assert!(Address::parse(format!("{longest}i").as_bytes()).is_err());
    }

    #[test]
    fn what_is_nearly_such_an_address_is_refused() {
        for odd in [
            &b""[..],
            b"/unit/web.service/web.key",
            b"7g/unit/web.service/web.key",
            b"7F/unit/web.service/web.key",
            b"00000000000000001/unit/web.service/web.key",
            b"7/slice/web.service/web.key",
            b"7/unit/web.service",
            b"7/unit/web.service/",
            b"7/unit//web.key",
            b"7/unit/web.service/a/web.key",
            b"7/unit/web.service/web.key/",
            b"7/unit/web service/web.key",
            b"7/unit/web.service/web\nkey",
            b"7/unit/web.service/web.key\0",
            b"7/unit/../web.key\xff",
        ] {
            assert_eq!(Address::parse(odd), Err(NoAddress), "{odd:?}");
        }
    }

    #[test]
    fn a_credentials_name_says_one_thing() {
        let identity = |name: &str, file| Ok(Wanted::Identity(name.parse().unwrap(), file));
        assert_eq!("web.key".parse(), identity("web", CertificateFile::Key));
        assert_eq!("a.crt.pem".parse(), identity("a.crt", CertificateFile::Combined));
        assert_eq!("secret.db".parse(), Ok(Wanted::Secret("db".parse().unwrap())));
        // And not the key of an identity `secret.db`.
        assert_eq!("secret.db.key".parse(), Ok(Wanted::Secret("db.key".parse().unwrap())));
        for none in ["", "web", ".key", "secret.", "self.key", "../web.key", "WEB.key", "web.keys", "secret.self"] {
            assert_eq!(none.parse::<Wanted>(), Err(NoCredential), "{none:?}");
        }
    }

    fn manager(path: &str, is_that_file: bool, cgroup: &str) -> Caller {
        let mut caller = Caller::by_credentials(7, 0, 0, vec![]);
        caller.pinning = Pinning::Pidfd;
        caller.exe = Some(Executable { device: 1, inode: 2, shown_path: path.to_owned(), is_that_file, sha256: None });
        caller.cgroup = Some(cgroup.to_owned());
        caller
    }

    #[test]
    fn only_the_service_manager_in_the_units_own_cgroup_is_believed() {
        let systemd = "/usr/lib/systemd/systemd";
        let cgroup = "/system.slice/web.service";
        for good in [systemd, "/usr/lib/systemd/systemd-executor", "/lib/systemd/systemd"] {
            assert_eq!(believe(&manager(good, true, cgroup), "web.service"), Ok(()));
        }
        assert_eq!(believe(&manager(systemd, true, "/system.slice/system-web.slice/web@1.service"), "web@1.service"), Ok(()));

        let mut user = manager(systemd, true, cgroup);
        user.uid = 1000;
        assert_eq!(believe(&user, "web.service"), Err(Disbelief::NotRoot(1000)));
        let mut outside = manager(systemd, true, cgroup);
        outside.pid = 0;
        assert!(believe(&outside, "web.service").is_err());
        let mut unpinned = manager(systemd, true, cgroup);
        unpinned.pinning = Pinning::CredentialsOnly;
        assert_eq!(believe(&unpinned, "web.service"), Err(Disbelief::NotPinned));
        for (path, is_that_file) in [("/bin/socat", true), (systemd, false), ("/tmp/usr/lib/systemd/systemd", true)] {
            assert!(matches!(believe(&manager(path, is_that_file, cgroup), "web.service"), Err(Disbelief::OtherProgram(_))));
        }
        let mut fileless = manager(systemd, true, cgroup);
        fileless.exe = None;
        assert!(matches!(believe(&fileless, "web.service"), Err(Disbelief::OtherProgram(_))));
        for elsewhere in [
            "/system.slice/other.service",
            "/system.slice",
            "/",
            "/../web.service",
            "/user.slice/user-0.slice/user@0.service/app.slice/web.service",
            "/system.slice/other.service/web.service",
        ] {
            assert!(matches!(believe(&manager(systemd, true, elsewhere), "web.service"), Err(Disbelief::OtherUnit { .. })));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_or_say_what_is_not_there(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Address { unit, id }) = Address::parse(&bytes) {
                let tail = format!("/unit/{unit}/{id}");
                prop_assert!(bytes.ends_with(tail.as_bytes()));
            }
        }

        #[test]
        fn what_systemd_writes_is_read_back(nonce: u64, unit in "[a-zA-Z0-9:_.\\\\@-]{1,40}", id in "[!-.0-~]{1,43}") {
            let address = format!("{nonce:x}/unit/{unit}/{id}");
            prop_assert_eq!(Address::parse(address.as_bytes()), Ok(Address { unit: &unit, id: &id }));
            if let Ok(wanted) = id.parse::<Wanted>() {
                prop_assert_eq!(wanted.to_string(), id);
            }
        }
    }
}
