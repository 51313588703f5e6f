//! A write that ends after any of its durable steps, in every way it can.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

const STEPS: [Step; 5] = [Step::NewRecord, Step::NewSecret, Step::OldLinked, Step::SecretRenamed, Step::RecordRenamed];

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn make(dir: &Path) -> Opened {
    create(dir, &Backends::new(dir), Choice::Fixed(Mode::File), &Policy::default(), now()).unwrap()
}

fn crash(step: Step) -> impl FnMut(Step) -> Result<(), SealError> {
    move |done| if done == step { Err(SealError::io("crash", "here")(io::Error::other("crash"))) } else { Ok(()) }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_renewal_that_ends_at_any_step_leaves_the_same_secret() {
    for step in STEPS {
        let dir = tempfile::tempdir().unwrap();
        let backends = Backends::new(dir.path());
        let made = make(dir.path());
        let policy = Policy::default();
        let renewal = Renewal { choice: Choice::Fixed(Mode::File), policy: &policy, allow_weaker: false, now: now() };
        renew_step_by_step(dir.path(), &backends, &renewal, crash(step)).unwrap_err();
        assert!(describe(dir.path()).unwrap().is_some(), "{step:?}");
        let before = names(dir.path());
        let opened = open(dir.path(), &backends, Choice::Auto).unwrap_or_else(|error| panic!("{step:?}: {error}; {before:?}"));
        assert_eq!(opened.secret.expose(), made.secret.expose(), "{step:?}");
        assert_eq!(opened.warnings.contains(&Warning::Completed), step == Step::SecretRenamed, "{step:?}");
        assert_eq!(names(dir.path()), ["root.cred", "root.cred.json", "root.key"], "{step:?}");
        // And again, from the tidied state.
        renew(dir.path(), &backends, &renewal).unwrap();
        assert_eq!(open(dir.path(), &backends, Choice::Auto).unwrap().secret.expose(), made.secret.expose());
    }
}

#[test]
fn a_first_write_that_ends_at_any_step_is_completed_or_begun_again_but_never_replaced() {
    for step in STEPS {
        let dir = tempfile::tempdir().unwrap();
        let backends = Backends::new(dir.path());
        let secret = RootSecret::generate().unwrap();
        {
            let pair = Pair::lock(dir.path()).unwrap();
            let (blob, record) = seal(&backends, Mode::File, &Policy::default(), &secret, now()).unwrap();
            pair.replace(&blob, &record, crash(step)).unwrap_err();
        }
        let again = create(dir.path(), &backends, Choice::Fixed(Mode::File), &Policy::default(), now());
        if step == Step::NewRecord {
            assert!(again.is_ok(), "nothing sealed had reached the disk: {:?}", again.err());
            continue;
        }
        assert!(matches!(again, Err(RootError::AlreadyThere { .. })), "{step:?}");
        let opened = open(dir.path(), &backends, Choice::Auto).unwrap();
        assert_eq!(opened.secret.expose(), secret.expose(), "{step:?}");
        assert_eq!(names(dir.path()), ["root.cred", "root.cred.json", "root.key"], "{step:?}");
    }
}

#[test]
fn a_torn_first_write_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.cred.json.new"), "{\"versio").unwrap();
    fs::write(dir.path().join("root.cred.new"), "half").unwrap();
    make(dir.path());
    assert_eq!(names(dir.path()), ["root.cred", "root.cred.json", "root.key"]);
}

#[test]
fn no_lost_file_leads_to_a_new_secret() {
    for (lost, says) in [("root.cred", "root.cred is missing though root.cred.json is there"), ("root.cred.json", "seal adopt")] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        fs::remove_file(dir.path().join(lost)).unwrap();
        let backends = Backends::new(dir.path());
        let created = create(dir.path(), &backends, Choice::Auto, &Policy::default(), now()).unwrap_err().to_string();
        let opened = open(dir.path(), &backends, Choice::Auto).unwrap_err().to_string();
        assert!(created.contains(says) && opened.contains(says), "{created}\n{opened}");
    }
}

#[test]
fn a_secret_missing_in_the_middle_of_a_renewal_is_reported_with_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    for name in ["root.cred", "root.cred.json"] {
        fs::rename(dir.path().join(name), dir.path().join(format!("{name}.old"))).unwrap();
    }
    let error = create(dir.path(), &Backends::new(dir.path()), Choice::Auto, &Policy::default(), now()).unwrap_err();
    assert!(error.to_string().contains("put it and root.cred.json.old back"), "{error}");
}

#[test]
fn a_replacement_that_cannot_be_read_back_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let backends = Backends::new(dir.path());
    let made = make(dir.path());
    let policy = Policy::default();
    let renewal = Renewal { choice: Choice::Fixed(Mode::File), policy: &policy, allow_weaker: false, now: now() };
    // The disk keeps something else than was written.
    let spoil = |step| {
        if step == Step::RecordRenamed {
            fs::remove_file(dir.path().join("root.cred")).unwrap();
            fs::write(dir.path().join("root.cred"), "spoilt").unwrap();
        }
        Ok(())
    };
    renew_step_by_step(dir.path(), &backends, &renewal, spoil).unwrap_err();
    assert_eq!(open(dir.path(), &backends, Choice::Auto).unwrap().secret.expose(), made.secret.expose());
}
