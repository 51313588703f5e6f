//! The programs under test, and running others.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A program built beside the running test: `reverie-agent`, `agentctl`.
pub fn built(name: &str) -> PathBuf {
    let directory = std::env::var_os("REVERIE_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("the running test");
        test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps").to_owned()
    });
    let program = directory.join(name);
    assert!(program.exists(), "{} is not built: run `cargo build --workspace --bins` first", program.display());
    program
}

/// Runs a program to its end and returns its output; panics with it if the program fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{}", output.status, text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program to its end.
pub fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Standard output and error together.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until `holds`, for at most `seconds`; panics with `what` otherwise.
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A free TCP port on the loopback.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}

/// The interpreter with what the scripts here need.
pub fn python() -> String {
    let target = built("agentctl").parent().and_then(std::path::Path::parent).expect("target/PROFILE").join("python");
    run(&format!("{}/python.sh", env!("CARGO_MANIFEST_DIR")), &[&target.display().to_string()]).trim().to_owned()
}
