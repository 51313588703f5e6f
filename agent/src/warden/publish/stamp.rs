//! `stamps/NAME`: a small file that is replaced with each generation, for those who watch.

use std::fs::File;
use std::io::Read;

use rustix::fs::{Mode, OFlags};

use super::super::failure::Failure;
use super::room::Room;
use super::write::{Access, write_new};

/// True if the stamp says `number`.
pub(super) fn says(stamps: &Room, name: &str, number: u64) -> bool {
    read(stamps, name).as_deref() == Some(content(number).as_bytes())
}

/// Writes the stamp, complete and with its space taken, but not yet where it is watched.
pub(super) fn prepare(stamps: &Room, name: &str, number: u64) -> Result<(), Failure> {
    let making = in_making(name);
    stamps.remove(&making)?;
    write_new(stamps, &making, content(number).as_bytes(), Access::new(None, None, 0o644))
}

/// Puts the prepared stamp in place.
pub(super) fn place(stamps: &Room, name: &str) -> Result<(), Failure> {
    stamps.rename(&in_making(name), name)
}

/// Forgets the prepared stamp.
pub(super) fn discard(stamps: &Room, name: &str) -> Result<(), Failure> {
    stamps.remove(&in_making(name))
}

pub(super) fn withdraw(stamps: &Room, name: &str) -> Result<(), Failure> {
    stamps.remove(name)?;
    discard(stamps, name)
}

fn read(stamps: &Room, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(stamps, name, flags, Mode::empty()).ok()?;
    let mut content = Vec::new();
    File::from(file).take(64).read_to_end(&mut content).ok()?;
    Some(content)
}

fn content(number: u64) -> String {
    format!("{number}\n")
}

fn in_making(name: &str) -> String {
    format!(".{name}.tmp")
}
