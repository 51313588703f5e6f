//! Certificates, issuers, revocation lists, and the clock they depend on.

use std::time::Duration;

use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;

use crate::doctor::Facts;
use crate::doctor::finding::{Found, fail, ok, skipped, warn};
use crate::screen::date;

/// A renewal may be this late before it is worth a word: retries back off up to 5 minutes.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

pub(super) fn clock_is_after_the_ca(facts: &Facts) -> Found {
    let now = facts.now;
    match facts.roots.iter().map(|root| root.not_before).min() {
        None => skipped("no root is known"),
        Some(born) if now < born => fail(
            format!("it says {}, but the certificate authority was made at {}", date(now), date(born)),
            "set the clock right: timedatectl, chronyc makestep",
        ),
        Some(_) => ok(format!("{}, after the certificate authority's birth", date(now))),
    }
}

pub(super) fn certificates_are_renewed(facts: &Facts) -> Found {
    let Some(all) = &facts.identities else { return skipped("not known without the admin socket") };
    let mut late = vec![];
    let mut kept = 0;
    for identity in all.identities.iter().map(|identity| &identity.summary).filter(|identity| identity.files.is_some()) {
        let Some(certificate) = &identity.certificate else {
            late.push((Moment::from_secs(0), format!("{} has no certificate", identity.name)));
            continue;
        };
        kept += 1;
        if certificate.not_after < facts.now {
            late.push((certificate.not_after, format!("that of {} ended at {}", identity.name, date(certificate.not_after))));
        } else if let Some(due) = certificate.renew_at.filter(|due| due.after(PATIENCE) < facts.now) {
            late.push((certificate.not_after, format!("that of {} was due for renewal at {}", identity.name, date(due))));
        }
    }
    late.sort();
    match late.split_first() {
        None => ok(format!("{kept} kept, none overdue")),
        Some(((_, worst), more)) => {
            let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
            fail(format!("{worst}{more}"), "agentctl cert rotate NAME shows why it fails")
        }
    }
}

pub(super) fn issuers_are_renewed(facts: &Facts) -> Found {
    let Ok(status) = &facts.status else { return skipped("not known without the admin socket") };
    let signing = |issuers: &[reverie_core::api::admin::IssuerStatus]| {
        issuers.iter().filter(|issuer| issuer.state == "signing").map(|issuer| (issuer.not_before, issuer.not_after)).next_back()
    };
    for (kind, issuers) in [("root", &status.roots), ("intermediate", &status.intermediates)] {
        let Some((from, until)) = signing(issuers) else {
            return fail(format!("no {kind} signs"), format!("agentctl ca rotate {kind}"));
        };
        if until < facts.now {
            return fail(format!("the {kind} ended at {}", date(until)), format!("agentctl ca rotate {kind}"));
        }
        let life = until.since(from);
        if until.since(facts.now) < life / 4 {
            let what = format!("the {kind} ends at {} and has not been renewed", date(until));
            return warn(what, format!("agentctl ca rotate {kind}"));
        }
    }
    ok("root and intermediate are good for long enough")
}

pub(super) fn crls_are_fresh(facts: &Facts) -> Found {
    let Validity { not_before, not_after } = match facts.crls.iter().min_by_key(|crl| crl.not_after) {
        Some(crl) => *crl,
        None if facts.agent.is_err() => return skipped("not known without the agent"),
        None => return warn("the agent hands out none", "`agentctl status` says whether it is ready"),
    };
    if not_after < facts.now {
        return fail(
            format!("one ended at {}: verifiers that insist on it refuse every certificate", date(not_after)),
            "read the agent's log: journalctl -u reverie-agent; `agentctl status` shows alarms",
        );
    }
    match not_after.since(facts.now) < not_after.since(not_before) / 4 {
        true => {
            warn(format!("one is overdue and ends at {}", date(not_after)), "read the agent's log: journalctl -u reverie-agent")
        }
        false => ok(format!("good until {}", date(not_after))),
    }
}
