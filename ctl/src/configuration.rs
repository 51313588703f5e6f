//! The configuration on disk: the main file and the drop-ins beside it, read as the agent reads them.

use std::io::Read;
use std::path::{Path, PathBuf};

use reverie_core::config::{Config, ConfigError, Source, parse};

use crate::failure::{Exit, Failure};

/// A larger file is no configuration.
const MAX_FILE: u64 = 16 << 20;
/// More drop-ins are refused.
const MAX_DROP_INS: usize = 10_000;

/// Every file and its text, in the order they are read.
#[derive(Debug)]
pub(crate) struct Files {
    main: File,
    drop_ins: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    name: String,
    text: String,
}

impl Files {
    /// Reads `main` and `agent.d/*.toml` beside it, by name.
    pub(crate) fn read(main: &Path) -> Result<Self, Failure> {
        let folder = main.with_file_name("agent.d");
        let main = File::read(main.to_owned()).map_err(|failure| match failure.exit {
            Exit::NoInput => failure.advise("make one with `agentctl init`, or name it with --config"),
            _ => failure,
        })?;
        let mut paths = vec![];
        match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::reading(&folder, &error)),
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(|error| Failure::reading(&folder, &error))?.path();
                    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                    if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
                        paths.push(path);
                    }
                }
            }
        }
        if paths.len() > MAX_DROP_INS {
            let what = format!("{} holds {} files, more than {MAX_DROP_INS}", folder.display(), paths.len());
            return Err(Failure::new(Exit::Config, what).advise("declare several identities in one file"));
        }
        paths.sort();
        Ok(Self { main, drop_ins: paths.into_iter().map(File::read).collect::<Result<_, _>>()? })
    }

    /// As if `path` held `text`.
    pub(crate) fn with(&mut self, path: &Path, text: String) {
        self.without(path);
        self.drop_ins.push(File { path: path.to_owned(), name: path.display().to_string(), text });
        self.drop_ins.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// As if there were no `path`.
    pub(crate) fn without(&mut self, path: &Path) {
        self.drop_ins.retain(|file| file.path != path);
    }

    pub(crate) fn check(&self) -> Result<Config, ConfigError> {
        let drop_ins: Vec<Source<'_>> = self.drop_ins.iter().map(File::source).collect();
        parse(self.main.source(), &drop_ins)
    }

    /// The same, as a failure of the verb.
    pub(crate) fn parse(&self) -> Result<Config, Failure> {
        self.check().map_err(refused)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.main).chain(&self.drop_ins).map(|file| file.path.as_path())
    }
}

/// The text of one file, within the same bounds.
pub(crate) fn read_main(path: &Path) -> Result<String, Failure> {
    File::read(path.to_owned()).map(|file| file.text)
}

/// A wrong configuration, exit 78.
pub(crate) fn refused(error: ConfigError) -> Failure {
    Failure::new(Exit::Config, error).advise("correct it there; `agentctl config schema` lists every key")
}

impl File {
    fn read(path: PathBuf) -> Result<Self, Failure> {
        let mut text = String::new();
        let file = std::fs::File::open(&path).map_err(|error| Failure::reading(&path, &error))?;
        let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
        let name = path.display().to_string();
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Failure::new(Exit::Config, format_args!("{name} is not UTF-8 text")).advise("save it as UTF-8"))
            }
            Err(error) => Err(Failure::reading(&path, &error)),
            Ok(size) if size as u64 > MAX_FILE => {
                Err(Failure::new(Exit::Config, format_args!("{name} is larger than {} MiB", MAX_FILE >> 20)).advise("split it"))
            }
            Ok(_) => Ok(Self { path, name, text }),
        }
    }

    fn source(&self) -> Source<'_> {
        Source { file: &self.name, text: &self.text }
    }
}

/// Plain ends of tunnels that are open to more than attested callers.
pub(crate) fn exposed_tunnels(config: &Config) -> Vec<String> {
    let told = config.tunnels.iter().filter_map(|tunnel| Some(format!("tunnel {}: {}", tunnel.name, tunnel.exposure()?)));
    told.collect()
}
