//! `certs/NAME`: a symbolic link to the current generation, a sibling directory `.NAME.N`.
//!
//! A generation is complete before the link is swapped, and never changes afterwards. The one before it stays, for
//! readers that hold it; so `{N-1, N}` exist, and after a crash perhaps a half-written `N+1` or a not yet removed
//! `N-2`, which the next publication removes first.

use reverie_core::ipc::warden::Publication;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::super::failure::{Doing, Failure};
use super::manifest::Manifest;
use super::room::Room;
use super::stamp;
use super::write::{Access, write_new};

pub(super) fn publish(certs: &Room, stamps: &Room, name: &str, publication: &Publication) -> Result<bool, Failure> {
    let current = current(certs, name)?;
    if let Some(number) = current
        && holds(certs, name, number, publication)?
    {
        if stamp::says(stamps, name, number) {
            return Ok(false);
        }
        // After a crash between swap and stamp: watchers have not been told.
        stamp::prepare(stamps, name, number)?;
        stamp::place(stamps, name)?;
        return Ok(true);
    }
    let number = current.unwrap_or(0) + 1;
    remove_generation(certs, name, number)?;
    if let Some(stale) = current.and_then(|current| current.checked_sub(2)) {
        remove_generation(certs, name, stale)?;
    }
    // Everything has its space before anything is put in place.
    let made = make(certs, name, current, number, publication)
        .and_then(|()| stamp::prepare(stamps, name, number))
        .and_then(|()| point_to(certs, name, number));
    if let Err(failure) = made {
        // The first failure is the one to report; what cannot be removed now is removed next time.
        let _ = certs.remove(&link_in_making(name));
        let _ = stamp::discard(stamps, name);
        let _ = remove_generation(certs, name, number);
        return Err(failure);
    }
    stamp::place(stamps, name)?;
    if let Some(stale) = current.and_then(|current| current.checked_sub(1))
        && let Err(failure) = remove_generation(certs, name, stale)
    {
        // What was asked for is done; the next publication tries again.
        tracing::warn!(?failure, "an old generation stays");
    }
    Ok(true)
}

/// Is this exactly what the generation holds?
fn holds(certs: &Room, name: &str, number: u64, publication: &Publication) -> Result<bool, Failure> {
    let manifest = Manifest::read(certs, &manifest_name(name, number));
    if manifest.len() != publication.files.len() {
        return Ok(false);
    }
    let directory = certs.open_directory(&directory_name(name, number))?;
    Ok(publication.files.iter().all(|file| manifest.has(&directory, &file.name, file, access(publication, file.mode))))
}

fn make(certs: &Room, name: &str, current: Option<u64>, number: u64, publication: &Publication) -> Result<(), Failure> {
    let old = current.and_then(|current| {
        let directory = certs.open_directory(&directory_name(name, current)).ok()?;
        Some((directory, Manifest::read(certs, &manifest_name(name, current))))
    });
    let new = certs.make_directory(&directory_name(name, number))?;
    for file in &publication.files {
        let access = access(publication, file.mode);
        // What has not changed stays the same file: a watcher of it is not woken.
        if let Some((old, manifest)) = &old
            && manifest.has(old, &file.name, file, access)
            && rustix::fs::linkat(old, &*file.name, &new, &*file.name, AtFlags::empty()).is_ok()
        {
            continue;
        }
        write_new(&new, &file.name, &file.content, access)?;
    }
    Manifest::note(&new, publication, |file| file.name.clone())?.write(certs, &manifest_name(name, number))?;
    // The files guard themselves by their own modes.
    rustix::fs::fchmod(&new, Mode::from_raw_mode(0o755)).doing(|| format!("open {} to its readers", certs.show(name)))
}

fn access(publication: &Publication, mode: u32) -> Access {
    Access::new(publication.uid, publication.gid, mode)
}

fn point_to(certs: &Room, name: &str, number: u64) -> Result<(), Failure> {
    let link = link_in_making(name);
    // A crash may have left one.
    certs.remove(&link)?;
    rustix::fs::symlinkat(directory_name(name, number), certs, &*link).doing(|| format!("make {}", certs.show(&link)))?;
    certs.rename(&link, name)
}

pub(super) fn withdraw(certs: &Room, name: &str) -> Result<(), Failure> {
    let current = current(certs, name)?;
    certs.remove(name)?;
    certs.remove(&link_in_making(name))?;
    // Without a link there is at most a half-written first generation.
    let current = current.unwrap_or(0);
    for number in current.saturating_sub(2)..=current + 1 {
        remove_generation(certs, name, number)?;
    }
    Ok(())
}

/// Removes every generation that no link points to, or pointed to just before.
pub(super) fn sweep(certs: &Room) -> Result<(), Failure> {
    for entry in certs.entries()? {
        match parse(&entry) {
            None => {}
            Some((_, Part::LinkInMaking)) => certs.remove(&entry)?,
            Some((name, Part::Generation(number) | Part::Manifest(number))) => {
                let current = current(certs, name)?.unwrap_or(0);
                if number > current || number + 1 < current {
                    remove_generation(certs, name, number)?;
                }
            }
        }
    }
    Ok(())
}

fn remove_generation(certs: &Room, name: &str, number: u64) -> Result<(), Failure> {
    certs.remove_directory(&directory_name(name, number))?;
    certs.remove(&manifest_name(name, number))
}

/// The number of the current generation; a link to anything else counts as none and is replaced.
fn current(certs: &Room, name: &str) -> Result<Option<u64>, Failure> {
    let target = match rustix::fs::readlinkat(certs, name, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::INVAL) => {
            let path = certs.show(name);
            return Err(format!("{path} is not a link of ours; find out who put it there, then remove it").into());
        }
        Err(error) => return Err(format!("could not read {}: {error}", certs.show(name)).into()),
    };
    let number = match target.to_str().ok().and_then(parse) {
        Some((of, Part::Generation(number))) if of == name => number,
        _ => return Ok(None),
    };
    let directory = certs.stat(&directory_name(name, number))?;
    Ok(directory.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory).map(|_| number))
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Generation(u64),
    Manifest(u64),
    LinkInMaking,
}

fn directory_name(name: &str, number: u64) -> String {
    format!(".{name}.{number}")
}

fn manifest_name(name: &str, number: u64) -> String {
    format!(".{name}.{number}.manifest")
}

fn link_in_making(name: &str) -> String {
    format!(".{name}.tmp")
}

/// Whose part an entry is. The last words decide, so that a name with dots in it is told from another's part.
fn parse(entry: &str) -> Option<(&str, Part)> {
    let (rest, last) = entry.strip_prefix('.')?.rsplit_once('.')?;
    // As we write it, and far from where counting on would overflow.
    let number = |text: &str| text.parse().ok().filter(|number: &u64| *number < u64::MAX / 2 && number.to_string() == text);
    let (name, part) = match last {
        "tmp" => (rest, Part::LinkInMaking),
        "manifest" => {
            let (name, text) = rest.rsplit_once('.')?;
            (name, Part::Manifest(number(text)?))
        }
        text => (rest, Part::Generation(number(text)?)),
    };
    super::name::is_target(name).then_some((name, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names_with_dots_are_told_apart() {
        assert_eq!(parse(&directory_name("a.1", 2)), Some(("a.1", Part::Generation(2))));
        assert_eq!(parse(&manifest_name("a.1", 2)), Some(("a.1", Part::Manifest(2))));
        assert_eq!(parse(&link_in_making("a.1")), Some(("a.1", Part::LinkInMaking)));
        let huge = directory_name("a", u64::MAX);
        for none in ["a.1", ".", "..", ".a", ".a.x", ".a.01", ".a.-1", ".A.1", ".a.manifest", "..1", "./.1", &huge] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }
}
