//! `identity list` and `identity show`.

use reverie_core::api::Operation;
use reverie_core::api::admin::{AdminIdentity, AllIdentities};
use reverie_core::api::local::{Identities, IdentitySummary};
use reverie_core::id::IdentityName;

use crate::cli::Session;
use crate::client::{Call, is_no_admin};
use crate::failure::{Exit, Failure, Outcome};
use crate::screen::{Table, date_or_dash, fields};

pub(super) async fn list(session: &Session) -> Outcome {
    match session.client.call::<AllIdentities>(Call::of(Operation::AllIdentities)).await {
        Err(why) if is_no_admin(&why) => {
            let mine: Identities = session.client.call(Call::of(Operation::ListIdentities)).await?;
            session.screen.show(&mine, |mine| table(mine.identities.iter(), "You have no identity here."))
        }
        all => session
            .screen
            .show(&all?, |all| table(all.identities.iter().map(|identity| &identity.summary), "No identity is declared.")),
    }
}

fn table<'a>(identities: impl Iterator<Item = &'a IdentitySummary>, empty: &'static str) -> String {
    let mut table = Table::new(["NAME", "SPIFFE ID", "TTL", "CERTIFICATE ENDS", "RENEWAL AT", "FILES"], empty);
    for IdentitySummary { name, spiffe_id, ttl, files, certificate, .. } in identities {
        let ends = date_or_dash(certificate.as_ref().map(|certificate| certificate.not_after));
        let renewed = date_or_dash(certificate.as_ref().and_then(|certificate| certificate.renew_at));
        let files = files.clone().unwrap_or_else(|| "-".to_owned());
        table.row([name.clone(), spiffe_id.clone(), ttl.clone(), ends, renewed, files]);
    }
    table.render()
}

pub(super) async fn show(session: &Session, name: &IdentityName) -> Outcome {
    match session.client.call::<AllIdentities>(Call::of(Operation::AllIdentities)).await {
        Err(why) if is_no_admin(&why) => {
            let mine: IdentitySummary = session.client.call(Call::of(Operation::ShowIdentity).named(name.as_str())).await?;
            session.screen.show(&mine, |mine| fields(summary(mine)))
        }
        all => {
            let found = all?.identities.into_iter().find(|identity| identity.summary.name == name.as_str());
            let unknown = || {
                Failure::new(Exit::NoInput, format_args!("there is no identity {:?}", name.as_str()))
                    .advise("`agentctl identity list` lists them; one just added is known after a reload")
            };
            session.screen.show(&found.ok_or_else(unknown)?, |found| {
                let AdminIdentity { summary: known, selectors, declared_at, verified } = found;
                let mut rows = summary(known);
                rows.push(("match", selectors.join(" and ")));
                rows.push(("declared at", declared_at.clone()));
                rows.push(("seen served", verified.clone().unwrap_or_else(|| "-".to_owned())));
                fields(rows)
            })
        }
    }
}

fn summary(identity: &IdentitySummary) -> Vec<(&'static str, String)> {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let mut rows = vec![
        ("name", identity.name.clone()),
        ("spiffe id", identity.spiffe_id.clone()),
        ("hint", dash(identity.hint.clone().unwrap_or_default())),
        ("dns", dash(identity.dns.join(", "))),
        ("ip", dash(identity.ip.join(", "))),
        ("key", format!("{:?}", identity.key).to_lowercase()),
        ("ttl", identity.ttl.clone()),
        ("files", dash(identity.files.clone().unwrap_or_default())),
    ];
    match &identity.certificate {
        None => rows.push(("certificate", "none".to_owned())),
        Some(certificate) => rows.extend([
            ("serial", certificate.serial.clone()),
            ("from", crate::screen::date(certificate.not_before)),
            ("until", crate::screen::date(certificate.not_after)),
            ("renewal at", date_or_dash(certificate.renew_at)),
            ("revoked at", date_or_dash(certificate.revoked_at)),
        ]),
    }
    rows
}
