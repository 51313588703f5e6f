//! The limit: making a key and signing a certificate, and nothing else.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::failure::{Exit, Failure};

/// An issuer like the agent's intermediate, of no worth.
pub(super) struct Bare {
    issuer: CertifiedIssuer<'static, KeyPair>,
    leaf: CertificateParams,
}

fn cannot(error: rcgen::Error) -> Failure {
    Failure::new(Exit::Internal, format_args!("the bare loop failed: {error}"))
}

impl Bare {
    pub(super) fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cannot)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(cannot)?;
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = vec![SanType::URI("spiffe://bench.internal/svc/bench".try_into().map_err(cannot)?)];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.use_authority_key_identifier_extension = true;
        Ok(Self { issuer, leaf })
    }

    fn issue(&self) -> Result<usize, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(self.leaf.signed_by(&key, &self.issuer)?.der().len())
    }

    /// One turn on `threads` threads. Times in nanoseconds.
    pub(super) fn turn(&self, threads: usize, length: Duration) -> Result<(Vec<u64>, Duration), Failure> {
        let start = Instant::now();
        let end = start + length;
        let work = || {
            let mut times = vec![];
            loop {
                let begin = Instant::now();
                if begin >= end {
                    return Ok(times);
                }
                self.issue()?;
                times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut all = vec![];
        for result in results {
            let times = result.map_err(|_| Failure::new(Exit::Internal, "the bare loop failed"))?;
            all.extend(times.map_err(cannot)?);
        }
        Ok((all, start.elapsed()))
    }
}

/// One turn of durable commits as a log makes them: append 4 KiB, `fdatasync`. The file is removed.
pub(super) fn commit_turn(dir: &Path, length: Duration) -> Result<(Vec<u64>, Duration), Failure> {
    let path = dir.join(format!(".agentctl-bench-{}", std::process::id()));
    let mut file =
        OpenOptions::new().append(true).create_new(true).open(&path).map_err(|error| Failure::writing(&path, &error))?;
    let start = Instant::now();
    let mut times = vec![];
    let mut result = Ok(());
    while start.elapsed() < length && result.is_ok() {
        let begin = Instant::now();
        result = file.write_all(&[0; 4096]).and_then(|()| file.sync_data());
        times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let _ = std::fs::remove_file(&path);
    result.map_err(|error| Failure::writing(&path, &error))?;
    Ok((times, start.elapsed()))
}
