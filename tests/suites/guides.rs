//! The programs of docs/guides, as they stand there, against a real agent, and every configuration in them. (envoy.md is run by
//! `suites::envoy`, federation.md by `host::federation`, those with `sh` blocks by the box.)

use std::process::Command;

use nix::unistd::geteuid;
use reverie_core::config::{Source, parse};
use reverie_tests::agent::Agent;
use reverie_tests::guides::{blocks, names, page};
use reverie_tests::programs::{built, python, text};

fn agent() -> Agent {
    let mut agent = Agent::new(&format!("[[identity]]\nname = \"report\"\nhint = \"main\"\nmatch = {{ uid = {} }}\n", geteuid()));
    agent.start();
    agent
}

fn says(command: &mut Command, agent: &Agent) -> String {
    command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", agent.run().join("workload.sock").display()));
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}\n{}", text(&done), agent.log());
    text(&done)
}

#[test]
fn the_python_program_of_the_guide_has_an_identity_and_a_token() {
    let agent = agent();
    let program = blocks(&page("python.md"), "python").concat();
    let said = says(Command::new(python()).args(["-c", &program]), &agent);
    assert!(said.contains("I am spiffe://example.org/svc/report until 20"), "{said}");
    assert!(said.contains("it is of spiffe://example.org/svc/report"), "{said}");
}

#[test]
fn the_rust_program_of_the_guide_is_the_one_that_is_built_and_has_an_identity_and_a_token() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/workload_client.rs")).unwrap();
    let program = blocks(&page("rust.md"), "rust").concat();
    assert!(source.ends_with(&program), "docs/guides/rust.md shows another program than tests/examples/workload_client.rs");
    let agent = agent();
    let said = says(&mut Command::new(built("examples/workload_client")), &agent);
    assert!(said.contains("I am spiffe://example.org/svc/report\n"), "{said}");
    assert!(said.contains("main: spiffe://example.org/svc/report\n") && said.contains("a token for db, of spiffe://"), "{said}");
}

/// What of a Cargo.toml this is not.
fn is_configuration(block: &str) -> bool {
    !block.starts_with("[dependencies]")
}

#[test]
fn every_configuration_in_a_guide_is_one_that_the_agent_takes() {
    let mut seen = 0;
    for name in names() {
        for block in blocks(&page(&name), "toml").iter().filter(|block| is_configuration(block)) {
            let text = format!("trust_domain = \"example.org\"\n{block}");
            parse(Source { file: &name, text: &text }, &[])
                .unwrap_or_else(|error| panic!("docs/guides/{name}: {error}\n{block}"));
            seen += 1;
        }
    }
    assert!(seen >= 7, "{seen} blocks");
}

#[test]
fn the_dependencies_of_the_rust_guide_are_those_that_its_program_is_built_with() {
    let workspace = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
    let told: Vec<String> = blocks(&page("rust.md"), "toml").into_iter().filter(|block| !is_configuration(block)).collect();
    let lines: Vec<&str> = told[0].lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{told:?}");
    for line in lines {
        let (name, rest) = line.split_once(" = ").unwrap();
        let ours = workspace.lines().find(|ours| ours.starts_with(&format!("{name} = "))).unwrap();
        // The version and each feature stand in quotes.
        for quoted in rest.split('"').skip(1).step_by(2) {
            assert!(ours.contains(&format!("\"{quoted}\"")), "docs/guides/rust.md has {line}\nthe workspace {ours}");
        }
    }
}
