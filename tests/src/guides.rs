//! The pages of docs/guides, whose blocks tests run as they stand.

use std::fs;
use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides"))
}

/// A page.
pub fn page(name: &str) -> String {
    fs::read_to_string(directory().join(name)).expect("a page of docs/guides")
}

/// The names of all pages.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).expect("docs/guides");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
}

/// The fenced blocks of a language in a page.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}
