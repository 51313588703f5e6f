//! The reference pages name every key and every kind that there is, and none that there is not.

use std::collections::BTreeSet;

use reverie_tests::programs::{built, run};
use serde_json::Value;

fn page(text: &str) -> BTreeSet<String> {
    // First cells of table rows: `| `key`, `other` | …`
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split('|').next());
    cells.flat_map(|cell| cell.split('`').map(str::to_owned).collect::<Vec<_>>()).filter(|word| is_key(word)).collect()
}

fn is_key(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.'))
}

fn schema() -> Value {
    serde_json::from_str(&run(built("agentctl").to_str().unwrap(), &["config", "schema"])).unwrap()
}

fn keys<'a>(schema: &'a Value, definition: &'a str) -> impl Iterator<Item = &'a String> {
    schema["$defs"][definition]["properties"].as_object().unwrap_or_else(|| panic!("no {definition}")).keys()
}

#[test]
fn the_configuration_page_names_every_key_and_no_other() {
    let schema = schema();
    let mut expected = BTreeSet::from(["trust_domain".to_owned(), "node_id".to_owned()]);
    let top: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "admin",
        "audit",
        "ca",
        "federation",
        "gossip",
        "identity",
        "limits",
        "log",
        "node_id",
        "paths",
        "seal",
        "secret",
        "trust_domain",
        "tunnel",
        "view",
    ];
    assert_eq!(top, BTreeSet::from(known), "a new section wants a place on the page and in this test");
    for definition in ["Paths", "Seal", "Ca", "RawIdentity", "RawSecret", "RawTunnel"] {
        expected.extend(keys(&schema, definition).cloned());
    }
    for (section, definition) in [
        ("admin", "Admin"),
        ("limits", "Limits"),
        ("audit", "Audit"),
        ("log", "Log"),
        ("gossip", "Gossip"),
        ("view", "View"),
        ("federation", "RawFederation"),
    ] {
        expected.extend(keys(&schema, definition).map(|key| format!("{section}.{key}")));
    }
    let text = include_str!("../../docs/reference/config.md");
    assert_eq!(page(text), expected);
    for selector in keys(&schema, "Match").chain(keys(&schema, "FileRule")).chain(keys(&schema, "RawReload")) {
        assert!(text.contains(&format!("`{selector}`")) || text.contains(&format!(" {selector}")), "{selector}");
    }
}

#[test]
fn the_audit_page_names_every_kind_and_no_other() {
    let schema = schemars::schema_for!(reverie_core::audit::Kind);
    let kinds = schema.as_value()["oneOf"].as_array().expect("the kinds");
    let kinds: BTreeSet<String> = kinds.iter().map(|kind| kind["const"].as_str().unwrap().to_owned()).collect();
    assert_eq!(page(include_str!("../../docs/reference/audit.md")), kinds);
}

#[test]
fn the_manual_page_names_every_option_and_verb_of_the_agent() {
    let page = include_str!("../../docs/man/reverie-agent.8");
    let agent = built("reverie-agent").display().to_string();
    for arguments in [&["--help"][..], &["seal", "--help"], &["seal", "init", "--help"], &["seal", "renew", "--help"]] {
        let help = run(&agent, arguments);
        for option in help.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(page.contains(&format!("Fl -{option}")), "--{option} of {arguments:?}");
        }
    }
    let verbs = run(&agent, &["seal", "--help"]);
    let verbs = verbs.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for verb in verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help") {
        assert!(page.contains(&format!(".It Cm seal {verb}")), "seal {verb}");
    }
}
