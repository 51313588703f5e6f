//! A real MIT KDC, in a directory and on a port of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::programs::{free_port, wait_until};

/// The realm.
pub const REALM: &str = "REVERIE.TEST";
/// Another, which the first trusts: tickets of its principals are good for the first one's services.
pub const TRUSTED: &str = "TRUSTED.TEST";

/// A KDC that ends with the test.
#[derive(Debug)]
pub struct Kdc {
    directory: TempDir,
    process: Child,
}

impl Kdc {
    /// Starts one, with nobody in it.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("reverie-kdc-").tempdir().expect("a directory");
        let (path, port) = (directory.path(), free_port());
        let shown = path.display();
        let libdefaults = "dns_lookup_kdc = false\ndns_lookup_realm = false\ndns_canonicalize_hostname = false\nrdns = false\n\
                           udp_preference_limit = 1";
        // A `tcp/` before the address would not be understood.
        let client = format!(
            "[libdefaults]\ndefault_realm = {REALM}\n{libdefaults}\n[realms]\n{REALM} = {{\n kdc = 127.0.0.1:{port}\n}}\n\
             {TRUSTED} = {{\n kdc = 127.0.0.1:{port}\n}}\n[domain_realm]\nlocalhost = {REALM}\n.mesh.test = {REALM}\n"
        );
        let server = format!(
            "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n{REALM} = {{\n \
             database_name = {shown}/principal\n key_stash_file = {shown}/stash\n max_life = 10h\n \
             supported_enctypes = aes256-cts-hmac-sha1-96:normal\n}}\n{TRUSTED} = {{\n database_name = {shown}/trusted\n \
             key_stash_file = {shown}/trusted-stash\n supported_enctypes = aes256-cts-hmac-sha1-96:normal\n}}\n\
             [logging]\nkdc = FILE:{shown}/kdc.log\n"
        );
        fs::write(path.join("krb5.conf"), client).expect("krb5.conf");
        fs::write(path.join("kdc.conf"), server).expect("kdc.conf");
        for realm in [REALM, TRUSTED] {
            succeed(command(path, "kdb5_util").args(["-r", realm, "create", "-s", "-P", "master"]));
            let query = format!("addprinc -pw between krbtgt/{REALM}@{TRUSTED}");
            succeed(command(path, "kadmin.local").args(["-r", realm, "-q", &query]));
        }
        let mut kdc = command(path, "krb5kdc");
        let process = kdc
            .args(["-n", "-r", REALM, "-r", TRUSTED])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("krb5kdc starts");
        wait_until("the KDC listens", 15, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { directory, process }
    }

    /// For `KRB5_CONFIG`.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("krb5.conf")
    }

    /// Makes a service (`HTTP/host`) and its keytab.
    pub fn service(&self, name: &str) -> PathBuf {
        self.service_of(REALM, name)
    }

    /// The same in one of the realms.
    pub fn service_of(&self, realm: &str, name: &str) -> PathBuf {
        let keytab = self.directory.path().join(format!("{realm}_{}.keytab", name.replace('/', "_")));
        self.kadmin(realm, &format!("addprinc -randkey {name}@{realm}"));
        self.kadmin(realm, &format!("ktadd -k {} {name}@{realm}", keytab.display()));
        keytab
    }

    /// Makes a user.
    pub fn user(&self, name: &str, password: &str) {
        self.kadmin(REALM, &format!("addprinc -pw {password} {name}"));
    }

    fn kadmin(&self, realm: &str, query: &str) {
        succeed(command(self.directory.path(), "kadmin.local").args(["-r", realm, "-q", query]));
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(directory: &Path, program: &str) -> Command {
    let mut command = Command::new(format!("/usr/sbin/{program}"));
    command.env("KRB5_CONFIG", directory.join("krb5.conf")).env("KRB5_KDC_PROFILE", directory.join("kdc.conf"));
    command.stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", crate::programs::text(&output));
}
