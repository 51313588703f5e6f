//! A real slapd with FreeIPA's tree of servers and topology segments, over TLS, on ports of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::programs::{free_port, run, text, wait_until};

/// Below which the tree lies.
pub const SUFFIX: &str = "dc=mesh,dc=test";
/// May read it.
pub const READER: (&str, &str) = ("uid=reader,dc=mesh,dc=test", "readerpw");

const ADMIN: (&str, &str) = ("cn=admin,dc=mesh,dc=test", "adminpw");

/// The directory of a FreeIPA, as far as its topology goes.
#[derive(Debug)]
pub struct Ipa {
    directory: TempDir,
    process: Option<Child>,
    ports: [u16; 2],
}

impl Ipa {
    /// One that says of each pair that a segment joins them; each end of one is a master.
    pub fn start(segments: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("reverie-ipa-").tempdir().expect("a directory");
        let mut ipa = Self { directory, process: None, ports: [free_port(), free_port()] };
        ipa.make_certificates();
        ipa.configure();
        let mut tree = TREE.to_owned();
        let mut masters: Vec<&str> = segments.iter().flat_map(|(left, right)| [*left, *right]).collect();
        masters.sort_unstable();
        masters.dedup();
        masters.iter().for_each(|master| tree.push_str(&master_entry(master)));
        segments.iter().for_each(|(left, right)| tree.push_str(&segment_entry(left, right)));
        let ldif = ipa.path("tree.ldif");
        fs::write(&ldif, tree).expect("the tree");
        let mut add = Command::new("/usr/sbin/slapadd");
        add.arg("-f").arg(ipa.path("slapd.conf")).args(["-b", SUFFIX, "-l"]).arg(&ldif);
        let output = add.output().expect("slapadd");
        assert!(output.status.success(), "slapadd: {}", text(&output));
        ipa.resume();
        ipa
    }

    /// Begins to serve, again.
    pub fn resume(&mut self) {
        let [plain, tls] = self.ports;
        let urls = format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}");
        let mut slapd = Command::new("/usr/sbin/slapd");
        slapd.arg("-f").arg(self.path("slapd.conf")).args(["-h", &urls, "-d", "0"]);
        slapd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(slapd.spawn().expect("slapd starts"));
        wait_until("slapd listens", 15, || std::net::TcpStream::connect(("127.0.0.1", tls)).is_ok());
    }

    /// Is not there any more; [`Ipa::resume`] brings it back.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// A replica is installed and joined to `neighbour`.
    pub fn add(&self, master: &str, neighbour: &str) {
        self.modify("ldapadd", &format!("{}{}", master_entry(master), segment_entry(master, neighbour)));
    }

    /// A replica is removed as a master; its segment is left behind.
    pub fn remove(&self, master: &str) {
        self.modify("ldapmodify", &format!("dn: cn={master},cn=masters,cn=ipa,cn=etc,{SUFFIX}\nchangetype: delete\n\n"));
    }

    /// `ldaps://` and `ldap://` (for StartTLS) of it.
    pub fn uris(&self) -> [String; 2] {
        let [plain, tls] = self.ports;
        [format!("ldaps://localhost:{tls}"), format!("ldap://localhost:{plain}")]
    }

    /// The certificate that its own chains to.
    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn modify(&self, program: &str, ldif: &str) {
        let file = self.path("change.ldif");
        fs::write(&file, ldif).expect("the change");
        let [_, tls] = self.ports;
        let mut command = Command::new(program);
        command.env("LDAPTLS_CACERT", self.ca_file()).args(["-x", "-H", &format!("ldaps://localhost:{tls}")]);
        command.args(["-D", ADMIN.0, "-w", ADMIN.1, "-f"]).arg(&file);
        let output = command.output().expect("an LDAP client");
        assert!(output.status.success(), "{program}: {}", text(&output));
    }

    fn make_certificates(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"];
        let (ca_key, ca, key, request) = (path("ca.key"), path("ca.pem"), path("server.key"), path("server.csr"));
        let mut arguments = vec!["req", "-x509"];
        arguments.extend(curve);
        arguments.extend([&*ca_key, "-out", &ca, "-days", "30", "-subj", "/CN=test directory CA"]);
        arguments.extend(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        run("openssl", &arguments);
        let mut arguments = vec!["req"];
        arguments.extend(curve);
        arguments.extend([&*key, "-out", &request, "-subj", "/CN=localhost"]);
        run("openssl", &arguments);
        // libldap takes "localhost" for the machine's own name.
        let hostname = run("hostname", &[]);
        let extensions = self.path("server.ext");
        fs::write(&extensions, format!("subjectAltName=DNS:localhost,DNS:{}\n", hostname.trim())).expect("the extensions");
        let (extensions, certificate) = (extensions.display().to_string(), path("server.pem"));
        let mut arguments = vec!["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        arguments.extend(["-days", "30", "-out", &certificate, "-extfile", &extensions]);
        run("openssl", &arguments);
    }

    fn configure(&self) {
        let shown = self.directory.path().display();
        fs::create_dir(self.path("db")).expect("a directory");
        // FreeIPA's own class of segments, in so far as it is asked for.
        let schema = "attributetype ( 1.3.6.1.4.1.99999.1 NAME 'ipaReplTopoSegmentLeftNode' \
                      SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )\n\
                      attributetype ( 1.3.6.1.4.1.99999.2 NAME 'ipaReplTopoSegmentRightNode' \
                      SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )\n\
                      objectclass ( 1.3.6.1.4.1.99999.3 NAME 'ipaReplTopoSegment' SUP top STRUCTURAL MUST cn \
                      MAY ( ipaReplTopoSegmentLeftNode $ ipaReplTopoSegmentRightNode ) )\n\
                      objectclass ( 1.3.6.1.4.1.99999.4 NAME 'nsContainer' SUP top STRUCTURAL MUST cn )\n";
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n{schema}modulepath /usr/lib/ldap\n\
             moduleload back_mdb\nTLSCACertificateFile {shown}/ca.pem\nTLSCertificateFile {shown}/server.pem\n\
             TLSCertificateKeyFile {shown}/server.key\nsecurity simple_bind=128\ndatabase mdb\nsuffix \"{SUFFIX}\"\n\
             rootdn \"{}\"\nrootpw {}\ndirectory {shown}/db\nmaxsize 16777216\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.base=\"{}\" read by * none\n",
            ADMIN.0, ADMIN.1, READER.0
        );
        fs::write(self.path("slapd.conf"), configuration).expect("slapd.conf");
    }
}

impl Drop for Ipa {
    fn drop(&mut self) {
        self.stop();
    }
}

const TREE: &str = "dn: dc=mesh,dc=test\nobjectClass: domain\ndc: mesh\n\n\
    dn: uid=reader,dc=mesh,dc=test\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: reader\nuserPassword: readerpw\n\n\
    dn: cn=etc,dc=mesh,dc=test\nobjectClass: nsContainer\ncn: etc\n\n\
    dn: cn=ipa,cn=etc,dc=mesh,dc=test\nobjectClass: nsContainer\ncn: ipa\n\n\
    dn: cn=masters,cn=ipa,cn=etc,dc=mesh,dc=test\nobjectClass: nsContainer\ncn: masters\n\n\
    dn: cn=topology,cn=ipa,cn=etc,dc=mesh,dc=test\nobjectClass: nsContainer\ncn: topology\n\n\
    dn: cn=domain,cn=topology,cn=ipa,cn=etc,dc=mesh,dc=test\nobjectClass: nsContainer\ncn: domain\n\n";

fn master_entry(name: &str) -> String {
    format!("dn: cn={name},cn=masters,cn=ipa,cn=etc,{SUFFIX}\nobjectClass: nsContainer\ncn: {name}\n\n")
}

fn segment_entry(left: &str, right: &str) -> String {
    format!(
        "dn: cn={left}-to-{right},cn=domain,cn=topology,cn=ipa,cn=etc,{SUFFIX}\nobjectClass: ipaReplTopoSegment\n\
         cn: {left}-to-{right}\nipaReplTopoSegmentLeftNode: {left}\nipaReplTopoSegmentRightNode: {right}\n\n"
    )
}
