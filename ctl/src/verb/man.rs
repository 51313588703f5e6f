//! `agentctl man`.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::{Cli, Session};
use crate::failure::{Exit, Failure, Outcome};

/// Print the manual page, or write one page for each verb into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write agentctl.1, agentctl-cert.1, … here
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let mut command = Cli::command();
        command.build();
        let Some(dir) = self.dir else {
            let page = page(&command)?;
            return match session.screen.json {
                true => session.screen.json(&serde_json::json!({ "page": String::from_utf8_lossy(&page) })),
                false => session.screen.bytes(&page),
            };
        };
        std::fs::create_dir_all(&dir).map_err(|error| Failure::writing(&dir, &error))?;
        let mut written = vec![];
        write_pages(&command, &dir, &mut written)?;
        session.screen.show(&written, |written| written.join("\n"))
    }
}

fn write_pages(command: &clap::Command, dir: &Path, written: &mut Vec<String>) -> Result<(), Failure> {
    let path = dir.join(clap_mangen::Man::new(command.clone()).get_filename());
    std::fs::write(&path, page(command)?).map_err(|error| Failure::writing(&path, &error))?;
    written.push(path.display().to_string());
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_pages(verb, dir, written)?;
    }
    Ok(())
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = vec![];
    // No date: the same sources give the same page.
    clap_mangen::Man::new(command.clone()).date("").render(&mut page).map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(page)
}
