//! The programs of docs/guides, as they stand there, against a real agent. (envoy.md is run by `suites::envoy`, systemd-unit.md by the box.)

use std::process::Command;

use nix::unistd::geteuid;
use reverie_tests::agent::Agent;
use reverie_tests::programs::{built, python, text};

fn guide(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/guides/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The blocks of a language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    page.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

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
    let program = blocks(&guide("python.md"), "python").concat();
    let said = says(Command::new(python()).args(["-c", &program]), &agent);
    assert!(said.contains("I am spiffe://example.org/svc/report until 20"), "{said}");
    assert!(said.contains("it is of spiffe://example.org/svc/report"), "{said}");
}

#[test]
fn the_rust_program_of_the_guide_is_the_one_that_is_built_and_has_an_identity_and_a_token() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/workload_client.rs")).unwrap();
    let program = blocks(&guide("rust.md"), "rust").concat();
    assert!(source.ends_with(&program), "docs/guides/rust.md shows another program than tests/examples/workload_client.rs");
    let agent = agent();
    let said = says(&mut Command::new(built("examples/workload_client")), &agent);
    assert!(said.contains("I am spiffe://example.org/svc/report\n"), "{said}");
    assert!(said.contains("main: spiffe://example.org/svc/report\n") && said.contains("a token for db, of spiffe://"), "{said}");
}
