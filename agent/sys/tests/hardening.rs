//! One test in a process of its own: hardening cannot be undone, and other tests would feel it.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reverie_sys::{peer, pidfd::PidFd, process};

#[test]
fn a_hardened_process_dumps_no_core_and_still_reads_its_own_pidfds() {
    process::set_nondumpable().unwrap();
    assert!(!nix::sys::prctl::get_dumpable().unwrap());
    assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));

    process::set_no_new_privs().unwrap();
    assert!(nix::sys::prctl::get_no_new_privs().unwrap());

    let limit = process::raise_nofile_limit().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));

    process::set_parent_death_signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(nix::sys::prctl::get_pdeathsig().unwrap(), Some(nix::sys::signal::Signal::SIGKILL));

    // The warden does just this after having hardened itself.
    assert!(peer::attest_support());
    let own = PidFd::open(std::process::id() as i32).unwrap();
    assert_eq!(own.pid().unwrap(), Some(std::process::id() as i32));

    // Under a small limit locking must be declined, or the allocation below would fail.
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
    let small = hard.min(64 * 1024);
    setrlimit(Resource::RLIMIT_MEMLOCK, small, hard).unwrap();
    assert!(!process::lock_memory().unwrap());
    let large = std::hint::black_box(vec![1u8; 32 * 1024 * 1024]);
    assert_eq!(large.len(), 32 * 1024 * 1024);
}
