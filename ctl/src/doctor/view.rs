//! What stands where the file view should be.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// For an answer: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file view as a reader finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// The configuration does not ask for it, or cannot be read.
    Unwanted,
    /// It answers.
    Answers,
    /// There is an ordinary folder, or nothing.
    NotMounted,
    /// What was mounted is served by nobody.
    Dead,
    /// It does not answer.
    Hangs,
}

/// Looks below the run directory.
pub(super) fn look(run: &Path) -> View {
    let point = run.join("view");
    let place = point.display().to_string();
    let is_mounted =
        |table: String| table.lines().any(|line| line.split(' ').nth(4) == Some(&place) && line.contains(" - fuse.reverie "));
    if !std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(is_mounted) {
        return View::NotMounted;
    }
    let (said, heard) = mpsc::channel();
    // A name that no view has: whether there is none the kernel must ask. Not waited for: one that hangs would have us hang with it.
    std::thread::spawn(move || said.send(std::fs::symlink_metadata(point.join("-")).map(drop).map_err(|error| error.kind())));
    match heard.recv_timeout(PATIENCE) {
        Ok(Ok(()) | Err(ErrorKind::NotFound)) => View::Answers,
        Ok(Err(_)) => View::Dead,
        Err(_) => View::Hangs,
    }
}
