//! The host's canonical name.

use std::ffi::{CStr, CString};
use std::ptr;

/// The canonical name of `name` as the system's resolver has it (`/etc/hosts`, then DNS), if it has one with a dot.
pub fn canonical(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: an all-zero addrinfo is a valid hint: every field is an integer or a pointer that may be null.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_CANONNAME;
    let mut found: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: `name` is a C string, `hints` is initialised, `found` receives a list that is freed below.
    if unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut found) } != 0 || found.is_null() {
        return None;
    }
    // SAFETY: getaddrinfo succeeded, so `found` points to at least one entry; its canonical name may be null.
    let canonical = unsafe { (*found).ai_canonname };
    let text = match canonical.is_null() {
        true => None,
        // SAFETY: not null, and a C string that lives until freeaddrinfo.
        false => unsafe { CStr::from_ptr(canonical) }.to_str().ok().map(str::to_owned),
    };
    // SAFETY: `found` came from getaddrinfo and is freed once.
    unsafe { libc::freeaddrinfo(found) };
    text.filter(|name| name.contains('.'))
}
