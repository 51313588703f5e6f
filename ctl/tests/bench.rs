//! The benchmarks run, say what they compared, and leave nothing behind. How fast is not a matter for a test.

use reverie_core::api::local::Whoami;
use reverie_core::api::{Code, Problem};

use crate::agent::{json, problem};
use crate::answers::{caller, healthy};
use crate::transcript::Transcript;

fn with_scratch(mut transcript: Transcript) -> Transcript {
    std::fs::create_dir(transcript.path("tmp")).unwrap();
    let tmp = transcript.path("tmp").display().to_string();
    transcript.env.push(("TMPDIR", tmp));
    transcript
}

fn assert_clean(transcript: &Transcript) {
    assert_eq!(std::fs::read_dir(transcript.path("tmp")).unwrap().count(), 0, "sockets and files are removed");
}

#[test]
fn an_attested_whoami_is_compared_with_a_bare_echo() {
    let transcript = with_scratch(Transcript::with(healthy));
    for more in [&["--connections", "4"][..], &["--new-connections"]] {
        let run = transcript.run_silently(&[&["bench", "whoami", "--seconds", "1", "--json"], more].concat(), "");
        let report: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
        for side in ["agent", "echo"] {
            assert!(report[side]["count"].as_u64().unwrap() > 0 && report[side]["p99_us"].as_f64().unwrap() > 0.0, "{report}");
        }
        assert!(report["ratio_p50"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["compared"].as_str().unwrap().contains("bare"), "{report}");
    }
    assert_clean(&transcript);
}

#[test]
fn issuing_is_compared_with_a_bare_loop_and_with_the_sum_of_its_parts() {
    let transcript = with_scratch(Transcript::with(healthy));
    let many = transcript.run_silently(&["bench", "issue", "--callers", "4", "--seconds", "1"], "");
    assert!(
        many.out.contains("bare loop") && many.out.contains("certificates of \"web\" were issued"),
        "{}{}",
        many.out,
        many.err
    );
    let one = ["bench", "issue", "--callers", "1", "--seconds", "1", "--commit-dir", "tmp", "--json"];
    let run = transcript.run_silently(&one, "");
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.err));
    let part = |name: &str| report["parts"][name].as_f64().unwrap();
    let sum = part("issue_p50_us") + part("echo_p50_us") + part("commit_p50_us");
    assert!((part("sum_p50_us") - sum).abs() < 0.01 && sum > 0.0, "{report}");
    assert_clean(&transcript);
}

#[test]
fn a_benchmark_that_cannot_run_says_why() {
    let mut transcript = with_scratch(Transcript::with(|asked| match asked.line.starts_with("POST") {
        true => problem(&Problem::new(Code::TooMany, "1000 requests a second are the limit")),
        false => healthy(asked),
    }));
    assert_eq!(transcript.run(&["bench", "issue", "--seconds", "1"]).exit, 75);
    assert_clean(&transcript);
    transcript.matches("error-bench-limit");
    let mut nobody = with_scratch(Transcript::with(|_| json(&Whoami { caller: caller(), unit: None, identities: vec![] })));
    assert_eq!(nobody.run(&["bench", "issue"]).exit, 77);
    nobody.matches("error-bench-nobody");
    let mut away = with_scratch(Transcript::alone());
    assert_eq!(away.run(&["bench", "whoami"]).exit, 69);
    away.matches("error-bench-away");
}
