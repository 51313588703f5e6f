//! What the process gave up.

use super::fixture::Host;

#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_confined_and_has_no_way_to_gain_privileges() {
    let host = Host::start("a.example.org").await;
    let status = net_processes()
        .into_iter()
        .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
        .next()
        .expect("no net process");
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned();
    assert_eq!(field("NoNewPrivs:"), "1", "{status}");
    assert_eq!(field("Seccomp:"), "2", "{status}");
    drop(host);
}

/// Those that this process started.
fn net_processes() -> Vec<u32> {
    let us = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)).unwrap_or_default() == us;
        parent && std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().windows(3).any(|part| part == b"net")
    })
    .collect()
}
