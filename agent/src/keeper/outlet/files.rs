//! Identities and secrets as plain files, written by the warden.

use std::path::Path;

use reverie_core::certificate_file::CertificateFile;
use reverie_core::config::Identity;
use reverie_core::ipc::warden::{File, Publication, Reply, Request, Target, TargetKind};

use super::content::render;
use super::{der, pkcs12};
use crate::keeper::Keeper;
use crate::keeper::identity::issuers::Issuers;
use crate::keeper::identity::store::Generation;
use crate::keeper::roles::{RoleError, WORK_DEADLINE};
use crate::ops::policy::Ownership;
use crate::view::FOLDER;

/// Why the files of an identity could not be published.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The warden could not do it.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// There is no DER of what there is as PEM.
    #[error("the certificate or key could not be written as DER: {0}")]
    Der(#[from] pem::PemError),
    /// There is no PKCS#12 file; the others stay as they are with it, since all are of one generation.
    #[error("no PKCS#12 file: {0}")]
    Pkcs12(#[from] pkcs12::Pkcs12Error),
}

/// Publishes a generation; false if the files were so already.
pub async fn publish(
    keeper: &Keeper,
    identity: &Identity,
    owner: Ownership,
    generation: &Generation,
    issuers: &Issuers,
) -> Result<bool, FilesError> {
    let file = |file: CertificateFile| {
        let mode = if file.is_private() { owner.mode } else { 0o444 };
        let content = std::mem::take(&mut *render(generation, issuers, file));
        File { name: file.name().to_owned(), mode, content, made_from: None }
    };
    let mut files: Vec<File> = CertificateFile::ALL.into_iter().map(file).collect();
    if let Some(rule) = &identity.files {
        if rule.der {
            files.extend(der::files(owner.mode, generation, issuers)?);
        }
        if let Some(rule) = &rule.pkcs12 {
            files.push(pkcs12::file(keeper, rule, owner.mode, generation, issuers).await?);
        }
    }
    let target = Target { kind: TargetKind::Certificates, name: identity.name.to_string() };
    Ok(send(keeper, Publication { target, uid: owner.uid, gid: owner.gid, files }).await?)
}

/// Publishes a secret as `secrets/NAME`.
pub async fn publish_secret(keeper: &Keeper, name: &str, owner: Ownership, value: &[u8]) -> Result<bool, RoleError> {
    let files = vec![File { name: name.to_owned(), mode: owner.mode, content: value.to_vec(), made_from: None }];
    let target = Target { kind: TargetKind::Secret, name: name.to_owned() };
    send(keeper, Publication { target, uid: owner.uid, gid: owner.gid, files }).await
}

async fn send(keeper: &Keeper, publication: Publication) -> Result<bool, RoleError> {
    match keeper.roles.warden(&Request::Publish(publication), None, WORK_DEADLINE).await? {
        Reply::Published { changed } => Ok(changed),
        _ => Err(RoleError::OutOfStep("warden")),
    }
}

/// Removes what is published but no longer declared.
pub async fn withdraw_undeclared(keeper: &Keeper) -> Result<(), RoleError> {
    let policy = keeper.policy();
    for kind in [TargetKind::Certificates, TargetKind::Secret] {
        let Reply::Names(names) = keeper.roles.warden(&Request::List(kind), None, WORK_DEADLINE).await? else {
            return Err(RoleError::OutOfStep("warden"));
        };
        for name in names {
            let declared = match kind {
                TargetKind::Certificates => name
                    .parse()
                    .ok()
                    .and_then(|name| policy.identities.get(&name))
                    .is_some_and(|identity| identity.declared.files.is_some()),
                TargetKind::Secret => name
                    .parse()
                    .ok()
                    .and_then(|name| policy.secrets.get(&name))
                    .is_some_and(|secret| secret.declared.files.is_some()),
            };
            if !declared {
                withdraw(keeper, kind, name).await?;
            }
        }
    }
    Ok(())
}

/// Removes one entry.
pub async fn withdraw(keeper: &Keeper, kind: TargetKind, name: String) -> Result<(), RoleError> {
    match keeper.roles.warden(&Request::Withdraw(Target { kind, name }), None, WORK_DEADLINE).await? {
        Reply::Withdrawn => Ok(()),
        _ => Err(RoleError::OutOfStep("warden")),
    }
}

/// Where its service reads: what is not published is in the view alone.
pub fn read_at(run: &Path, identity: &Identity) -> String {
    match identity.files {
        Some(_) => directory(run, identity),
        None => directory(&run.join(FOLDER), identity),
    }
}

/// Where the files of an identity are.
pub fn directory(run: &Path, identity: &Identity) -> String {
    run.join("certs").join(identity.name.as_str()).display().to_string()
}
