//! `stamps/NAME`: a small file that is replaced with each generation, for those who watch.

use std::fs::File;
use std::io::Read;

use rustix::fs::{Mode, OFlags};

use super::super::failure::Failure;
use super::room::Room;
use super::write::{Access, write_new};

/// Makes the stamp say `number`; false if it does already.
pub(super) fn set(stamps: &Room, name: &str, number: u64) -> Result<bool, Failure> {
    let content = format!("{number}\n");
    if read(stamps, name).as_deref() == Some(content.as_bytes()) {
        return Ok(false);
    }
    let making = in_making(name);
    stamps.remove(&making)?;
    write_new(stamps, &making, content.as_bytes(), Access::new(None, None, 0o644))?;
    stamps.rename(&making, name).inspect_err(|_| drop(stamps.remove(&making)))?;
    Ok(true)
}

pub(super) fn withdraw(stamps: &Room, name: &str) -> Result<(), Failure> {
    stamps.remove(name)?;
    stamps.remove(&in_making(name))
}

fn read(stamps: &Room, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(stamps, name, flags, Mode::empty()).ok()?;
    let mut content = Vec::new();
    File::from(file).take(64).read_to_end(&mut content).ok()?;
    Some(content)
}

fn in_making(name: &str) -> String {
    format!(".{name}.tmp")
}
