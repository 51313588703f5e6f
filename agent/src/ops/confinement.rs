//! What a role never does, it gives up at its start: for a role that was taken over, that is still never.
//!
//! The units say the same and more. This holds without them too: for one person's agent, and where the keeper starts the
//! others itself.

use std::io;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// Never, in any role: other processes' memory, namespaces and mounts, the kernel itself, its clock and its keyrings, and
/// ways around this list.
const NEVER: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
];

/// Nor by the way of a new process.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

type Rules = std::collections::BTreeMap<i64, Vec<SeccompRule>>;

/// What the prober reads: how names are resolved, and the libraries that do it.
const RESOLVER: [&str; 7] = ["/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];

/// For every role, before it has threads: they inherit it. Needs no_new_privs.
pub fn give_up_system_calls() -> io::Result<()> {
    let mut rules: Rules = NEVER.iter().map(|call| (*call, vec![])).collect();
    let flags = NAMESPACES.iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
            .and_then(|asked| SeccompRule::new(vec![asked]))
    });
    rules.insert(libc::SYS_clone, flags.collect::<Result<_, _>>().map_err(io::Error::other)?);
    install(rules, libc::EPERM)?;
    // Its flags lie in memory, where no filter can look; the C library goes on with clone.
    install([(libc::SYS_clone3, vec![])].into(), libc::ENOSYS)
}

/// For the prober besides: it opens no file but what resolves names, writes none, and reaches no local socket, so that
/// whoever takes it over gets neither at the agent's files nor at its API.
pub fn keep_to_the_network() -> io::Result<()> {
    let local = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_UNIX.unsigned_abs().into());
    let local = local.and_then(|local| SeccompRule::new(vec![local])).map_err(io::Error::other)?;
    install([(libc::SYS_socket, vec![local])].into(), libc::EPERM)?;
    restrict_files_to(&RESOLVER)
}

/// For the view besides: it makes no socket, and of files it reads those of `/proc` alone, where it sees which process a thread is of.
pub fn keep_to_proc() -> io::Result<()> {
    install([(libc::SYS_socket, vec![]), (libc::SYS_connect, vec![])].into(), libc::EPERM)?;
    restrict_files_to(&["/proc"])
}

fn restrict_files_to(readable: &[&str]) -> io::Result<()> {
    let abi = ABI::V5;
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(abi));
    let ruleset = ruleset.and_then(Ruleset::create).map_err(io::Error::other)?;
    let rules = path_beneath_rules(readable, AccessFs::from_read(abi));
    let status = ruleset.add_rules(rules).and_then(|ruleset| ruleset.restrict_self()).map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(io::Error::other("this kernel has no Landlock")),
        _ => Ok(()),
    }
}

/// Refuses what `rules` match with that error.
fn install(rules: Rules, error: libc::c_int) -> io::Result<()> {
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// In a thread of its own: it binds only that.
    fn confined<T: Send + 'static>(confine: fn() -> io::Result<()>, then: fn() -> T) -> T {
        let thread = std::thread::spawn(move || {
            reverie_sys::process::set_no_new_privs().unwrap();
            confine().unwrap();
            then()
        });
        thread.join().unwrap()
    }

    #[test]
    fn no_role_enters_another_namespace_or_looks_into_another_process() {
        let tried = confined(give_up_system_calls, || {
            let parent = rustix::process::getppid().unwrap();
            let io = nix::sys::uio::process_vm_readv(
                nix::unistd::Pid::from_raw(parent.as_raw_nonzero().get()),
                &mut [io::IoSliceMut::new(&mut [0; 8])],
                &[nix::sys::uio::RemoteIoVec { base: 0x1000, len: 8 }],
            );
            // Threads and programs are begun as before.
            assert!(std::process::Command::new("/bin/true").status().unwrap().success());
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            // What it starts is bound as well.
            let program = std::process::Command::new("unshare").args(["--user", "true"]).status().unwrap();
            (unshare(CloneFlags::CLONE_NEWUSER), io, program.success())
        });
        assert_eq!(tried, (Err(Errno::EPERM), Err(Errno::EPERM), false));
    }

    #[test]
    fn the_prober_reaches_the_network_and_neither_files_nor_local_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let (secret, socket) = (directory.path().join("secret"), directory.path().join("socket"));
        std::fs::write(&secret, "x").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::read(&secret).unwrap();
        UnixStream::connect(&socket).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            reverie_sys::process::set_no_new_privs().unwrap();
            keep_to_the_network().unwrap();
            let denied = io::ErrorKind::PermissionDenied;
            assert_eq!(std::fs::read(&secret).unwrap_err().kind(), denied);
            assert_eq!(std::fs::write("/etc/reverie-test", "x").unwrap_err().kind(), denied);
            assert_eq!(UnixStream::connect(&socket).unwrap_err().kind(), denied);
            std::net::TcpStream::connect(address).unwrap();
            // By the resolver, which reads its own files.
            assert!(std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).unwrap().next().is_some());
        });
        thread.join().unwrap();
    }
}
