//! Reading the configuration files: the main one and the drop-ins beside it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reverie_core::config::{self, Config, ConfigError, Source};

/// The largest file that is read. 100,000 identities fit.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// No more drop-ins than this.
const MAX_DROP_INS: usize = 10_000;

/// A configuration, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the files say.
    pub config: Config,
    /// The files, in the order they were read.
    pub files: Vec<PathBuf>,
}

/// Why no configuration could be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}{}", path.display(), advice(error))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// More drop-ins than are read. None is ignored: which ones would be anybody's guess.
    #[error("{} holds {count} files, more than {MAX_DROP_INS}\ntry: declare several identities in one file", folder.display())]
    TooMany {
        /// Where.
        folder: PathBuf,
        /// How many.
        count: usize,
    },
    /// A file says something wrong.
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "\ntry: `agentctl init` writes one, `--config FILE` names another",
        io::ErrorKind::PermissionDenied => "\ntry: make it readable for the agent's user",
        _ => "",
    }
}

/// Reads `main` and every `*.toml` in `agent.d` beside it, sorted by name.
pub fn load(main: &Path) -> Result<Loaded, LoadError> {
    let mut files = vec![main.to_owned()];
    files.extend(drop_ins(main)?);
    let texts = files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let sources: Vec<Source<'_>> = names.iter().zip(&texts).map(|(file, text)| Source { file, text }).collect();
    let (main, rest) = sources.split_first().ok_or_else(|| unreadable(main, io::ErrorKind::NotFound.into()))?;
    Ok(Loaded { config: config::parse(*main, rest)?, files })
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let folder = main.with_file_name("agent.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(unreadable(&folder, error)),
    };
    let mut files = vec![];
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&folder, error))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path);
        }
    }
    if files.len() > MAX_DROP_INS {
        return Err(LoadError::TooMany { folder, count: files.len() });
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, LoadError> {
    let file = fs::File::open(path).map_err(|error| unreadable(path, error))?;
    let mut text = String::new();
    let size = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    if size as u64 > MAX_BYTES {
        return Err(unreadable(path, io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: io::Error) -> LoadError {
    LoadError::Unreadable { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_read_in_the_order_of_their_names_and_hidden_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("agent.toml");
        fs::write(&main, "trust_domain = \"example.org\"\n").unwrap();
        fs::create_dir(folder.path().join("agent.d")).unwrap();
        for (file, name) in [("20-b.toml", "b"), ("10-a.toml", "a"), (".hidden.toml", "x"), ("note.txt", "y")] {
            let text = format!("[[identity]]\nname = \"{name}\"\nmatch = {{ uid = 1 }}\n");
            fs::write(folder.path().join("agent.d").join(file), text).unwrap();
        }
        let names: Vec<_> = load(&main).unwrap().config.identities.iter().map(|identity| identity.name.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn too_many_drop_ins_are_refused_and_other_files_are_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("agent.toml");
        fs::write(&main, "trust_domain = \"example.org\"\n").unwrap();
        fs::create_dir(folder.path().join("agent.d")).unwrap();
        for n in 0..MAX_DROP_INS + 1 {
            fs::write(folder.path().join(format!("agent.d/{n}.txt")), "").unwrap();
        }
        let drop_in = |n: usize| fs::write(folder.path().join(format!("agent.d/{n}.toml")), "").unwrap();
        drop_in(0);
        assert_eq!(load(&main).unwrap().files.len(), 2);
        (1..MAX_DROP_INS).for_each(drop_in);
        assert_eq!(load(&main).unwrap().files.len(), MAX_DROP_INS + 1);
        drop_in(MAX_DROP_INS);
        let error = load(&main).unwrap_err().to_string();
        assert!(error.contains("holds 10001 files, more than 10000"), "{error}");
    }

    #[test]
    fn a_missing_file_says_how_to_get_one() {
        let error = load(Path::new("/nonexistent/agent.toml")).unwrap_err().to_string();
        assert!(error.contains("agentctl init"), "{error}");
    }
}
