//! Runs a software TPM for tests and demonstrations.
//!
//! `swtpm_front DIR [PORT]` starts swtpm with its state in DIR, extends PCRs 0, 4 and 7 as firmware would, prints
//! the TCTI (`mssim:host=127.0.0.1,port=N`) and runs until it is killed, or until its stdin ends if that is a pipe.
//! However it ends, swtpm ends with it.

#![forbid(unsafe_code)]

#[path = "../tests/swtpm/mod.rs"]
mod swtpm;

use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let port = |arg: std::ffi::OsString| arg.to_str().and_then(|port| port.parse::<u16>().ok());
    let (Some(dir), port, None) = (args.next(), args.next().map(port), args.next()) else { return usage() };
    if matches!(port, Some(None)) {
        return usage();
    }
    match run(&PathBuf::from(dir), port.flatten()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swtpm_front: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: swtpm_front DIR [PORT]   (PORT and PORT+1 on 127.0.0.1; any free pair without it)");
    ExitCode::from(64)
}

fn run(dir: &std::path::Path, port: Option<u16>) -> io::Result<()> {
    let tpm = swtpm::SoftTpm::start(dir, port)?;
    writeln!(io::stdout(), "{}", tpm.tcti())?;
    io::stdout().flush()?;
    let stdin = std::fs::metadata("/proc/self/fd/0").map(|facts| facts.file_type());
    if stdin.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        let mut sink = [0; 256];
        while io::stdin().read(&mut sink)? > 0 {}
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}
