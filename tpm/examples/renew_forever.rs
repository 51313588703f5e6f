//! Seals the root secret in DIR anew, with its key file, over and over until it is killed: for the crash tests.
//! Prints a line when it has done so once.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::SystemTime;

use reverie_tpm::root::{Backends, Renewal, RootError, renew};
use reverie_tpm::{Choice, Mode, Policy};

fn main() -> Result<(), RootError> {
    let dir = PathBuf::from(std::env::args_os().nth(1).unwrap_or_default());
    let policy = Policy::default();
    let mut told = false;
    loop {
        let choice = Choice::Fixed(Mode::File);
        let renewal = Renewal { choice, policy: &policy, allow_weaker: false, now: SystemTime::now() };
        renew(&dir, &Backends::new(&dir), &renewal)?;
        if !told {
            println!("renewing");
            told = true;
        }
    }
}
