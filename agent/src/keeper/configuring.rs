//! Reading the configuration again, and having the world follow it and the trusted roots.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use reverie_core::api::admin::ConfigStatus;
use reverie_core::audit::{Actor, Event, Kind, Outcome, Subject};

use super::identity::reconcile;
use super::state::Change;
use super::{Keeper, admin, clock, look_up, supervision};
use crate::ops::configuration;
use crate::ops::host::Host;
use crate::ops::policy::{NAMES, Policy};

/// SIGHUP. If the new configuration is wrong, the old one stays in force and everyone is told.
pub async fn reload(keeper: &Arc<Keeper>) {
    supervision::notify_reloading();
    let refused = match read(keeper).await {
        Ok((policy, files)) => {
            let status = ConfigStatus {
                files: files.iter().map(|file| file.display().to_string()).collect(),
                loaded_at: clock::now(),
                refused: None,
            };
            *keeper.config_status.lock().unwrap_or_else(PoisonError::into_inner) = status;
            put_in_force(keeper, policy);
            keeper.alarms.clear("configuration");
            None
        }
        Err(why) => {
            tracing::error!(why, "the new configuration is refused; the old one stays in force");
            keeper.config_status.lock().unwrap_or_else(PoisonError::into_inner).refused = Some(why.clone());
            keeper
                .alarms
                .raise("configuration", format!("the file on disk is refused, the one read before stays in force: {why}"));
            Some(why)
        }
    };
    record(keeper, refused).await;
    supervision::notify_ready(keeper);
}

fn put_in_force(keeper: &Keeper, policy: Policy) {
    let findings: Vec<String> = policy.findings.iter().map(|(subject, _)| subject.clone()).collect();
    let secrets: Vec<String> = policy.secrets.keys().map(|name| format!("secret {name}")).collect();
    keeper.policy.send_replace(Arc::new(policy));
    keeper.alarms.clear_except(NAMES, &findings);
    keeper.alarms.clear_except("secret ", &secrets);
    supervision::raise_standing_alarms(keeper);
}

/// Asks again for the users and groups that could not be looked up, without reading any file.
pub async fn look_up_again(keeper: &Keeper) {
    let before = keeper.policy();
    if before.findings.is_empty() {
        return;
    }
    let (config, scope) = (before.config.clone(), keeper.host.scope);
    let Ok(policy) = tokio::task::spawn_blocking(move || Policy::new(config, scope)).await else { return };
    let subjects = |policy: &Policy| policy.findings.iter().map(|(subject, _)| subject.clone()).collect::<BTreeSet<_>>();
    let (known, now) = (subjects(&before), subjects(&policy));
    // Only for the better: a directory that fails now must not take away what it gave before. And a reload may have come
    // between.
    if now.len() < known.len() && now.is_subset(&known) && Arc::ptr_eq(&before, &keeper.policy()) {
        tracing::info!("users or groups that were unknown are known now");
        put_in_force(keeper, policy);
    }
}

async fn read(keeper: &Keeper) -> Result<(Policy, Vec<PathBuf>), String> {
    // On a terminal the advice has a line of its own; an alarm is one line.
    let one_line = |error: &dyn std::fmt::Display| error.to_string().replace("\ntry: ", "; try: ");
    let loaded = configuration::load(&keeper.main_file).map_err(|error| one_line(&error))?;
    let host = Host::new(&loaded.config, keeper.host.scope).map_err(|error| one_line(&error))?;
    match host.differs_from(&keeper.host) {
        true => {
            Err("trust_domain, node_id and [paths] take effect at a restart only: systemctl restart reverie-agent".to_owned())
        }
        false => look_up(loaded, keeper.host.scope).await.map_err(|error| one_line(&error)),
    }
}

async fn record(keeper: &Keeper, refused: Option<String>) {
    let outcome = match refused {
        None => Outcome::Done,
        Some(_) => Outcome::Failed,
    };
    let subject = Subject { object: Some(keeper.main_file.display().to_string()), ..Subject::default() };
    let event = Event { time: clock::now(), kind: Kind::ConfigLoaded, outcome, actor: Actor::Agent, subject, reason: refused };
    // That nothing can be recorded is an alarm already.
    if let Err(error) = keeper.commit(Change { writes: vec![], events: vec![event] }).await {
        tracing::warn!(%error, "that the configuration was read could not be recorded");
    }
}

/// Has files follow every change of configuration or trust, the state at start included. Never ends.
pub async fn follow(keeper: Arc<Keeper>) {
    let (mut policies, mut trust) = (keeper.watch_policy(), keeper.watch_issuers());
    loop {
        policies.mark_unchanged();
        trust.mark_unchanged();
        reconcile::reconcile(&keeper).await;
        publish_secrets(&keeper).await;
        tokio::select! {
            changed = policies.changed() => if changed.is_err() { return },
            changed = trust.changed() => if changed.is_err() { return },
        }
    }
}

async fn publish_secrets(keeper: &Arc<Keeper>) {
    let stored = match keeper.secrets.all(&keeper.state) {
        Ok(stored) => stored,
        Err(error) => return keeper.alarms.raise("store", error.to_string()),
    };
    for (name, secret) in stored {
        let Ok(name) = name.parse() else { continue };
        if let Err(error) = admin::secrets::publish(keeper, &name, &secret).await {
            keeper.alarms.raise(format!("secret {name}"), format!("its file could not be written: {}", error.0.detail));
        }
    }
}
