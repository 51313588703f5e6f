//! Many hosts: real agents in network namespaces. Needs root.

mod handshakes;
mod harness;
mod history;
mod ten;
mod time;
mod trust;
mod upgrade;

/// The identity `web`, within what a host may issue, and rounds and limits for a test.
fn configuration() -> String {
    let uid = nix::unistd::geteuid();
    format!(
        "[limits]\nrequests_per_second = 0\n[gossip]\nrate_per_second = 100000\nback_off_max_ms = 2000\n\
         [[identity]]\nname = \"web\"\ndns = [\"web.NODE\"]\nmatch = {{ uid = {uid} }}\nfiles = {{ mode = \"0400\" }}\n"
    )
}
