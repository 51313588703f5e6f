//! `identity add` and `identity rm`: one drop-in file for each identity.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reverie_core::id::IdentityName;

use super::declaration::Declaration;
use crate::cli::Session;
use crate::configuration::{Files, refused};
use crate::failure::{Exit, Failure, Outcome};
use crate::layout::{Layout, Scope};
use crate::screen::plain;

#[derive(serde::Serialize)]
struct Changed {
    file: String,
    reload: String,
}

pub(super) fn add(session: &Session, declaration: &Declaration) -> Outcome {
    let layout = session.layout();
    let path = file_of(layout, &declaration.name);
    let text = declaration.to_toml()?;
    if path.exists() {
        return Err(Failure::new(Exit::CantCreate, format_args!("{} exists already", path.display()))
            .advise(format_args!("edit it, or remove it first: agentctl identity rm {}", declaration.name)));
    }
    let mut files = Files::read(&layout.config)?;
    // Not checked before: the identity may be just what the configuration lacks.
    let before = files.check();
    files.with(&path, text.clone());
    files.check().map_err(|error| {
        let in_new_file = error.place.file == path.display().to_string();
        match before {
            Err(_) if !in_new_file => refused(error),
            // The options are at fault, not a file: nothing has been written.
            _ => Failure::new(Exit::Config, if in_new_file { error.message } else { error.to_string() })
                .advise("correct the options; nothing was written"),
        }
    })?;
    write(&path, &text, layout.scope)?;
    report(session, &path, "wrote")
}

pub(super) fn remove(session: &Session, name: &IdentityName) -> Outcome {
    let layout = session.layout();
    let path = file_of(layout, name);
    let mut files = Files::read(&layout.config)?;
    let config = files.parse()?;
    let shown = path.display().to_string();
    let in_file = |declared_at: &str| declared_at.strip_prefix(&shown).is_some_and(|place| place.starts_with(':'));
    let Some(identity) = config.identities.iter().find(|identity| identity.name == *name) else {
        return Err(Failure::new(Exit::NoInput, format_args!("no file declares the identity {:?}", name.as_str()))
            .advise(format_args!("look into {} and {}", layout.config.display(), layout.drop_ins().display())));
    };
    if !in_file(&identity.declared_at) {
        let what = format!("the identity {:?} is declared at {}, not in a file of its own", name.as_str(), identity.declared_at);
        return Err(Failure::new(Exit::Data, what).advise("remove it there by hand, then reload the agent"));
    }
    let others = config.identities.iter().filter(|other| other.name != *name).map(|other| &other.declared_at);
    if let Some(other) = others.chain(config.secrets.iter().map(|secret| &secret.declared_at)).find(|place| in_file(place)) {
        return Err(Failure::new(Exit::Data, format_args!("{shown} declares more than {:?}: see {other}", name.as_str()))
            .advise("remove the identity there by hand, then reload the agent"));
    }
    files.without(&path);
    files.check().map_err(|error| {
        Failure::new(Exit::Config, format_args!("without it the configuration would be wrong: {error}"))
            .advise("correct that first; nothing was removed")
    })?;
    std::fs::remove_file(&path).map_err(|error| Failure::writing(&path, &error))?;
    report(session, &path, "removed")
}

fn file_of(layout: &Layout, name: &IdentityName) -> PathBuf {
    layout.drop_ins().join(format!("{name}.toml"))
}

fn report(session: &Session, path: &Path, done: &str) -> Outcome {
    let reload = session.layout().systemctl("reload");
    let changed = Changed { file: path.display().to_string(), reload };
    session.screen.show(&changed, |changed| format!("{done} {}\nTell the agent: {}\n", plain(&changed.file), changed.reload))
}

/// A whole file or none: written beside, then linked, which refuses to replace another.
fn write(path: &Path, text: &str, scope: Scope) -> Result<(), Failure> {
    let (folder_mode, file_mode) = if scope == Scope::System { (0o755, 0o644) } else { (0o700, 0o600) };
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = std::fs::DirBuilder::new().recursive(true).mode(folder_mode).create(folder);
    made.map_err(|error| Failure::writing(folder, &error))?;
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(file_mode).open(&beside);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| std::fs::hard_link(&beside, path));
    let _ = std::fs::remove_file(&beside);
    linked.map_err(|error| Failure::writing(path, &error))
}
