//! Where an issued certificate and its key go.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reverie_core::api::local::Certificate;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{Screen, date, plain, plain_block};

/// A larger certificate request is none.
const MAX_REQUEST: u64 = 64 << 10;

/// Reads a certificate request.
pub(crate) fn read_request(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| Failure::reading(path, &error))?;
    let read = file.take(MAX_REQUEST + 1).read_to_string(&mut text);
    match read {
        Err(error) if error.kind() != std::io::ErrorKind::InvalidData => Err(Failure::reading(path, &error)),
        Ok(size) if size as u64 <= MAX_REQUEST && text.contains("CERTIFICATE REQUEST-----") => Ok(text),
        _ => Err(Failure::new(Exit::Data, format_args!("{} is not a certificate request in PEM", path.display()))
            .advise("make one: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout tls.key")),
    }
}

/// Makes the directory and refuses what is there, before anything is asked of the agent.
pub(crate) fn prepare(dir: &Path, with_key: bool, force: bool) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Failure::writing(dir, &error))?;
    let names: &[&str] = if with_key { &["tls.crt", "tls.key", "ca.crt"] } else { &["tls.crt", "ca.crt"] };
    match names.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
        Some(path) if !force => Err(Failure::new(Exit::CantCreate, format_args!("{} exists already", path.display()))
            .advise("choose another directory, or replace what is there with --force")),
        _ => Ok(()),
    }
}

#[derive(serde::Serialize)]
struct Written<'a> {
    identity: &'a str,
    serial: &'a str,
    not_after: reverie_core::moment::Moment,
    files: Vec<String>,
}

/// Writes the files; the key is readable by its owner alone from the first byte.
pub(crate) fn write(screen: Screen, certificate: &Certificate, dir: &Path) -> Outcome {
    let mut files = vec![];
    let mut place = |name: &str, text: &str, mode: u32| {
        let path = dir.join(name);
        replace(&path, text, mode)?;
        files.push(path.display().to_string());
        Ok::<(), Failure>(())
    };
    if let Some(key) = &certificate.private_key {
        place("tls.key", key, 0o600)?;
    }
    place("tls.crt", &certificate.certificate, 0o644)?;
    place("ca.crt", &certificate.bundle, 0o644)?;
    let Certificate { identity, serial, not_after, .. } = certificate;
    screen.show(&Written { identity, serial, not_after: *not_after, files }, |written| {
        let files: String = written.files.iter().map(|file| format!("wrote {}\n", plain(file))).collect();
        format!("{files}serial {}, until {}\n", plain(written.serial), date(written.not_after))
    })
}

/// Chain, then key.
pub(crate) fn print(screen: Screen, certificate: &Certificate) -> Outcome {
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    for pem in [Some(&certificate.certificate), certificate.private_key.as_ref()].into_iter().flatten() {
        let block = Zeroizing::new(plain_block(pem));
        text.push_str(block.trim_end());
        text.push('\n');
    }
    screen.bytes(text.as_bytes())
}

/// A new file takes the old one's name in one step, so that a reader never sees half of it.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let beside: PathBuf = path.with_extension(format!("new-{}", std::process::id()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let renamed = written.and_then(|()| std::fs::rename(&beside, path));
    renamed.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        Failure::writing(path, &error)
    })
}
