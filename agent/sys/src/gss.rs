//! GSSAPI credentials out of a named keytab. `libgssapi` wraps the rest.

use std::ffi::{CString, NulError};
use std::ptr;

use libgssapi::credential::Cred;
use libgssapi::error::{Error, MajorFlags};
use libgssapi_sys as c;

/// What the credential is for.
#[derive(Debug, Clone)]
pub enum Purpose<'a> {
    /// Accept tokens for any service of the keytab, SPNEGO (RFC 4178) or plain Kerberos.
    Accept {
        /// Where tokens are remembered, so that none is taken twice: as `KRB5RCACHENAME` has it, e.g. `file2:/path`.
        replay_cache: Option<&'a str>,
    },
    /// Ask for tickets as that principal; the cache lives in memory.
    Initiate {
        /// `service/host` or `service/host@REALM`.
        principal: &'a str,
    },
}

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// libkrb5's words.
    #[error("{0}")]
    Gss(Error),
    /// A name with a NUL.
    #[error(transparent)]
    Nul(#[from] NulError),
}

// DER of the arcs: Kerberos (RFC 4121), SPNEGO (RFC 4178), and the name type of RFC 1964 §2.1.1.
const KRB5: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
const SPNEGO: &[u8] = b"\x2b\x06\x01\x05\x05\x02";
const PRINCIPAL_NAME: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";

fn oid(bytes: &'static [u8]) -> c::gss_OID_desc {
    c::gss_OID_desc { length: bytes.len() as c::OM_uint32, elements: bytes.as_ptr().cast_mut().cast() }
}

/// A credential from the keytab at that path.
pub fn acquire(keytab: &str, purpose: &Purpose<'_>) -> Result<Cred, AcquireError> {
    let (usage, mechanisms, settings) = match purpose {
        Purpose::Accept { replay_cache } => {
            let mut settings = vec![(c"keytab", CString::new(keytab)?)];
            if let Some(cache) = replay_cache {
                settings.push((c"rcache", CString::new(*cache)?));
            }
            (c::GSS_C_ACCEPT, &[KRB5, SPNEGO][..], settings)
        }
        Purpose::Initiate { .. } => {
            let settings = vec![(c"client_keytab", CString::new(keytab)?), (c"ccache", CString::new("MEMORY:reverie")?)];
            (c::GSS_C_INITIATE, &[KRB5][..], settings)
        }
    };
    let name = match purpose {
        Purpose::Accept { .. } => ImportedName(ptr::null_mut()),
        Purpose::Initiate { principal } => ImportedName::new(principal)?,
    };
    let mut mechanisms: Vec<_> = mechanisms.iter().map(|bytes| oid(bytes)).collect();
    let mut mechanisms = c::gss_OID_set_desc { count: mechanisms.len(), elements: mechanisms.as_mut_ptr() };
    let element =
        |(key, value): &(&std::ffi::CStr, CString)| c::gss_key_value_element_desc { key: key.as_ptr(), value: value.as_ptr() };
    let mut elements: Vec<_> = settings.iter().map(element).collect();
    let store = c::gss_key_value_set_desc { count: elements.len() as c::OM_uint32, elements: elements.as_mut_ptr() };
    let (mut minor, mut credential) = (0, ptr::null_mut());
    // SAFETY: every pointer is to a local that outlives the call; the callee copies what it keeps.
    let major = unsafe {
        c::gss_acquire_cred_from(
            &mut minor,
            name.0,
            c::_GSS_C_INDEFINITE,
            &mut mechanisms,
            usage as c::gss_cred_usage_t,
            &store,
            &mut credential,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    match major {
        // SAFETY: a handle that was just made, and that nobody else has.
        c::GSS_S_COMPLETE => Ok(unsafe { Cred::from_c(credential) }),
        _ => Err(AcquireError::Gss(Error { major: MajorFlags::from_bits_retain(major), minor })),
    }
}

/// A name of the library's, released in the end; null for any name.
struct ImportedName(c::gss_name_t);

impl ImportedName {
    fn new(principal: &str) -> Result<Self, AcquireError> {
        let (mut minor, mut name, mut kind) = (0, ptr::null_mut(), oid(PRINCIPAL_NAME));
        let mut buffer = c::gss_buffer_desc { length: principal.len(), value: principal.as_ptr().cast_mut().cast() };
        // SAFETY: the buffer and the type live for the call; the callee copies them.
        let major = unsafe { c::gss_import_name(&mut minor, &mut buffer, &mut kind, &mut name) };
        match major {
            c::GSS_S_COMPLETE => Ok(Self(name)),
            _ => Err(AcquireError::Gss(Error { major: MajorFlags::from_bits_retain(major), minor })),
        }
    }
}

impl Drop for ImportedName {
    fn drop(&mut self) {
        if !self.0.is_null() {
            let mut minor = 0;
            // SAFETY: ours, and not used after.
            unsafe { c::gss_release_name(&mut minor, &mut self.0) };
        }
    }
}
