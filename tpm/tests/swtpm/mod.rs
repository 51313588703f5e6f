//! A software TPM: swtpm behind a small resource manager of our own that speaks the simulator's TCP protocol.
//!
//! Clients use the TCTI `mssim:host=127.0.0.1,port=P` (with the platform channel at P+1). swtpm alone will not do:
//! systemd-creds leaves a session behind at each call, and the fourth finds no room; so whatever a client leaves is
//! flushed when it goes, as the kernel's /dev/tpmrm0 does. PCRs 0, 4 and 7 are extended at start, as firmware would.
//!
//! Other crates' tests take this file by `#[path]`, or run `cargo run -p reverie-tpm --example swtpm_front -- DIR`.

mod front;
mod wire;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use front::Front;
use wire::Tpm;

/// A running TPM; it ends when this is dropped, and also (by swtpm's `--terminate`) when this process dies.
pub(crate) struct SoftTpm {
    dir: PathBuf,
    port: u16,
    swtpm: Child,
    tpm: Arc<Mutex<Tpm>>,
    front: Option<Front>,
}

impl SoftTpm {
    /// Starts the TPM whose state is in `dir` (a new one if there is none) and boots it; on `port` and the one after it,
    /// or on any free pair.
    pub(crate) fn start(dir: &Path, port: Option<u16>) -> io::Result<Self> {
        let (listeners, port) = listen(port)?;
        let (swtpm, tpm) = power_on(dir)?;
        let tpm = Arc::new(Mutex::new(tpm));
        let front = Front::start(listeners, port, Arc::clone(&tpm))?;
        let started = Self { dir: dir.to_owned(), port, swtpm, tpm, front: Some(front) };
        started.boot()?;
        Ok(started)
    }

    /// How clients reach it.
    pub(crate) fn tcti(&self) -> String {
        format!("mssim:host=127.0.0.1,port={}", self.port)
    }

    /// Extends `pcr` by the digest of `what`.
    pub(crate) fn extend(&self, pcr: u8, what: &str) -> io::Result<()> {
        self.tpm.lock().unwrap_or_else(PoisonError::into_inner).extend(pcr, what.as_bytes())
    }

    /// Turns the machine off and on: PCRs start anew and are extended as before, the keys stay.
    #[allow(dead_code, reason = "not every user of this file reboots")]
    pub(crate) fn reboot(&mut self) -> io::Result<()> {
        let mut tpm = self.tpm.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.swtpm.kill();
        self.swtpm.wait()?;
        (self.swtpm, *tpm) = power_on(&self.dir)?;
        drop(tpm);
        self.boot()
    }

    fn boot(&self) -> io::Result<()> {
        [0, 4, 7].into_iter().try_for_each(|pcr| self.extend(pcr, &format!("boot {pcr}")))
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        drop(self.front.take());
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
    }
}

/// Two neighbouring ports, held from the start so that nobody else takes them.
fn listen(port: Option<u16>) -> io::Result<([TcpListener; 2], u16)> {
    for _ in 0..100 {
        let first = TcpListener::bind(("127.0.0.1", port.unwrap_or(0)))?;
        let number = first.local_addr()?.port();
        match number.checked_add(1).map(|next| TcpListener::bind(("127.0.0.1", next))) {
            Some(Ok(second)) => return Ok(([first, second], number)),
            Some(Err(error)) if port.is_some() => return Err(error),
            _ => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no two neighbouring ports are free"))
}

fn power_on(dir: &Path) -> io::Result<(Child, Tpm)> {
    let state = dir.join("state");
    std::fs::create_dir_all(&state)?;
    let socket = dir.join("tpm.sock");
    let _ = std::fs::remove_file(&socket);
    let mut swtpm = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate", "--flags", "not-need-init,startup-clear"])
        .arg(format!("--tpmstate=dir={}", state.display()))
        .arg(format!("--server=type=unixio,path={}", socket.display()))
        .arg(format!("--ctrl=type=unixio,path={}", dir.join("ctrl.sock").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start swtpm ({error}); install the package swtpm")))?;
    let until = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match UnixStream::connect(&socket).and_then(Tpm::new) {
            Ok(tpm) => return Ok((swtpm, tpm)),
            Err(error) if Instant::now() >= until => break error,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        if let Some(status) = swtpm.try_wait()? {
            break io::Error::other(format!("swtpm ended at once ({status})"));
        }
    };
    let _ = swtpm.kill();
    let _ = swtpm.wait();
    Err(error)
}
