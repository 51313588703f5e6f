//! Somebody edits the audit log: found, and located to the event.

use std::fs;
use std::path::PathBuf;

use reverie_core::audit::{ChainHead, Line};
use reverie_tests::agent::Agent;
use reverie_tests::programs::{text, wait_until};
use serde_json::{Value, json};

/// An agent with a dozen events, and its log with event N in line N.
fn agent_with_a_log() -> (Agent, PathBuf) {
    let mut agent = Agent::with_web();
    agent.start();
    agent.file("web", "tls.key");
    for _ in 0..8 {
        agent.post("/v1/identities/web/certificates", &json!({})).ok();
    }
    let audit = agent.state().join("audit");
    let names = fs::read_dir(&audit).unwrap().map(|entry| entry.unwrap().path());
    let logs: Vec<PathBuf> = names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("audit-")).collect();
    // Verifying waits until the files have what was acknowledged.
    assert_eq!(faults(&agent), json!([]));
    (agent, logs.into_iter().next().expect("a log"))
}

fn faults(agent: &Agent) -> Value {
    agent.admin_get("/api/admin/audit/verify").ok()["report"]["faults"].clone()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The event that is tampered with: in the middle, and it names a serial.
fn victim(log: &str) -> u64 {
    let issued = log.lines().enumerate().filter(|(_, line)| line.contains("certificate-issued") && line.contains("\"serial\":"));
    issued.map(|(index, _)| index as u64 + 1).nth(3).expect("a certificate was issued")
}

/// Another digit in the serial of event `seq`: the line stays what the agent could have written.
fn edited(log: &str, seq: u64) -> String {
    let mut lines = lines(log);
    let line = &mut lines[seq as usize - 1];
    let at = line.find("\"serial\":\"").unwrap() + "\"serial\":\"".len() + 5;
    let digit = if &line[at..=at] == "0" { "1" } else { "0" };
    line.replace_range(at..=at, digit);
    let (number, event) = Line::parse(line).unwrap().event().expect("it still reads");
    assert!(number == seq && event.subject.serial.is_some());
    joined(&lines)
}

fn deleted(log: &str, seq: u64) -> String {
    let mut lines = lines(log);
    lines.remove(seq as usize - 1);
    joined(&lines)
}

fn swapped(log: &str, seq: u64) -> String {
    let mut lines = lines(log);
    lines.swap(seq as usize - 1, seq as usize);
    joined(&lines)
}

/// The edit, by someone who knows how the chain is made and writes the rest anew to follow from it.
fn forged(log: &str, seq: u64) -> String {
    let mut head = ChainHead::default();
    let edited = edited(log, seq);
    let written = edited.lines().map(|line| {
        let (_, event) = Line::parse(line).expect("a line").event().expect("an event");
        let (next, line) = head.append(&event).unwrap();
        head = next;
        line.to_text()
    });
    joined(&written.collect::<Vec<_>>())
}

type Tampering = fn(&str, u64) -> String;

/// What is done, what the agent finds, what `agentctl` says of it.
fn tamperings(seq: u64) -> Vec<(Tampering, Value, Vec<String>)> {
    let after = seq + 2;
    vec![
        (edited, json!([{ "type": "altered", "seq": seq }]), vec![format!("event {seq} was altered")]),
        (deleted, json!([{ "type": "missing", "from": seq, "to": seq }]), vec![format!("event {seq} is missing")]),
        (
            swapped,
            json!([{ "type": "missing", "from": seq, "to": seq }, { "type": "out-of-order", "seq": seq, "expected": after }]),
            vec![format!("event {seq} is missing"), format!("event {seq} stands where {after} belongs")],
        ),
    ]
}

#[track_caller]
fn assert_said(agent: &Agent, arguments: &[&str], sentences: &[String]) {
    let output = agent.ctl(&[&["audit", "verify"], arguments].concat());
    let said = text(&output);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("damaged: "), "{said}");
    sentences.iter().for_each(|sentence| assert!(said.contains(&format!("  {sentence}\n")), "{sentence:?} is not in {said}"));
}

#[test]
fn an_edit_under_a_running_agent_is_found_and_located() {
    let (agent, log) = agent_with_a_log();
    let whole = fs::read_to_string(&log).unwrap();
    let seq = victim(&whole);
    for (tamper, expected, sentences) in tamperings(seq) {
        fs::write(&log, tamper(&whole, seq)).unwrap();
        assert_eq!(faults(&agent), expected);
        assert_said(&agent, &[], &sentences);
        assert_said(&agent, &[log.to_str().unwrap()], &sentences);
        fs::write(&log, &whole).unwrap();
        assert!(agent.ctl_ok(&["audit", "verify"]).contains("whole"));
    }
}

#[test]
fn an_edit_while_the_agent_was_away_is_found_at_the_start_and_raised() {
    for which in 0..3 {
        let (mut agent, log) = agent_with_a_log();
        agent.stop();
        let whole = fs::read_to_string(&log).unwrap();
        let seq = victim(&whole);
        let (tamper, expected, sentences) = tamperings(seq).swap_remove(which);
        fs::write(&log, tamper(&whole, seq)).unwrap();
        agent.start();
        assert_eq!(faults(&agent), expected, "and what the agent appended since is in order");
        assert_said(&agent, &[], &sentences);
        wait_until("the alarm names the event", 15, || {
            agent.admin_get("/api/admin/status").ok()["alarms"].to_string().contains(&sentences[0])
        });
    }
}

#[test]
fn a_chain_forged_to_follow_from_an_edit_disagrees_with_what_the_host_signed() {
    let (agent, log) = agent_with_a_log();
    let whole = fs::read_to_string(&log).unwrap();
    let (seq, last) = (victim(&whole), whole.lines().count() as u64);
    let forgery = forged(&whole, seq);
    assert_eq!(lines(&forgery)[..seq as usize - 1], lines(&whole)[..seq as usize - 1]);
    fs::write(&log, forgery).unwrap();
    let expected: Vec<Value> = (seq..=last).map(|seq| json!({ "type": "rewritten", "seq": seq })).collect();
    assert_eq!(faults(&agent), json!(expected));
    assert_said(&agent, &[], &[format!("event {seq} is not the one the host signed: the log was rewritten")]);
}

#[test]
fn a_tail_cut_off_under_a_running_agent_is_found_by_what_it_signed() {
    let (agent, log) = agent_with_a_log();
    let whole = fs::read_to_string(&log).unwrap();
    let all = lines(&whole);
    let (last, left) = (all.len() as u64, all.len() as u64 - 3);
    fs::write(&log, joined(&all[..left as usize])).unwrap();
    assert_eq!(faults(&agent), json!([{ "type": "truncated", "ends_at": left, "signed": last }]));
    let sentence = format!("the log ends at event {left}, but the host signed event {last}: its tail was cut off");
    assert_said(&agent, &[], &[sentence]);
    // What is written next does not cover it up.
    agent.post("/v1/identities/web/certificates", &json!({})).ok();
    let gap = |faults: &Value| faults[0]["type"] == "missing" && faults[0]["from"] == left + 1;
    assert!(gap(&faults(&agent)), "{}", faults(&agent));
}

#[test]
fn a_tail_cut_off_while_the_agent_was_away_is_raised_and_written_anew() {
    let (mut agent, log) = agent_with_a_log();
    agent.stop();
    let whole = fs::read_to_string(&log).unwrap();
    let all = lines(&whole);
    let left = all.len() - 3;
    fs::write(&log, joined(&all[..left])).unwrap();
    agent.start();
    let said = format!("events {} to {} had been written to the files and were gone at the start", left + 1, all.len());
    let alarms = agent.admin_get("/api/admin/status").ok()["alarms"].to_string();
    assert!(alarms.contains(&said), "{said:?} is not in {alarms}");
    assert_eq!(faults(&agent), json!([]));
    assert!(fs::read_to_string(&log).unwrap().starts_with(&whole), "byte by byte as before");
}
