//! Gathers the facts: from the agent, and from the host.

use reverie_core::api::Operation;
use reverie_core::api::local::{Bundle, Crls, Whoami};
use reverie_core::api::mesh::MeshStatus;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::facts::{Declared, Facts};
use super::host;
use super::view::{self, View};
use crate::cli::Session;
use crate::client::{Call, Client};
use crate::configuration::Files;

/// Asks the agent what there is to ask, looks at the host for the rest. Nothing here fails: what cannot be seen is absent.
pub(crate) async fn gather(session: &Session) -> Facts {
    let client = &session.client;
    let agent = client.call::<Whoami>(Call::of(Operation::Whoami)).await.map(drop);
    let status = client.call::<reverie_core::api::admin::Status>(Call::of(Operation::Status)).await;
    let (mut identities, mut audit, mut mesh, mut tunnels): (_, _, Option<MeshStatus>, _) = (None, None, None, None);
    if status.is_ok() {
        identities = client.call(Call::of(Operation::AllIdentities)).await.ok();
        mesh = client.call(Call::of(Operation::Mesh)).await.ok();
        tunnels = client.call(Call::of(Operation::Tunnels)).await.ok();
        audit = Some(client.call(Call::of(Operation::AuditVerify)).await);
    }
    let (mut names, mut own_port) = (None, None);
    if let Some(mesh) = mesh.as_ref().filter(|mesh| mesh.mesh.is_some()) {
        names = Some(super::names::look_up(mesh.node_id.as_str()).await);
        if let Ok(bundle) = client.call::<Bundle>(Call::of(Operation::Bundle)).await {
            own_port = super::names::knock(mesh, &bundle).await;
        }
    }
    // The agent knows best which file it reads.
    let main = status.as_ref().ok().and_then(|status| status.config.files.first().map(std::path::PathBuf::from));
    // One that it was given relative to its own directory means nothing here.
    let main = main.filter(|path| path.is_absolute());
    let files = Files::read(main.as_ref().unwrap_or(&client.layout.config));
    let config_changed = files.as_ref().ok().and_then(|files| files.paths().filter_map(host::changed_at).max());
    let config = files.and_then(|files| Ok((files.parse()?, files)));
    let state = config.as_ref().ok().and_then(|(config, _)| config.paths.state.clone());
    let state = state.map_or_else(|| client.layout.state.clone(), Into::into);
    let admin_gid = config.as_ref().ok().and_then(|(config, _)| host::group(&config.admin.group));
    let wants_view = config.as_ref().is_ok_and(|(config, _)| config.view.enabled);
    Facts {
        now: crate::verb::token::now(),
        version: env!("CARGO_PKG_VERSION"),
        agent,
        workload: host::listens(&client.layout.workload_socket()),
        identities,
        audit,
        mesh,
        tunnels,
        names,
        own_port,
        roots: roots(client).await,
        crls: crls(client).await,
        kernel: host::kernel(),
        has_tpm: std::path::Path::new("/dev/tpmrm0").exists(),
        run: host::directory(&client.layout.run),
        config: config.map(|(config, files)| Declared {
            files: files.paths().map(|path| path.display().to_string()).collect(),
            missing_callers: host::missing_callers(&config),
            missing_owners: host::missing_owners(&config),
            unaskable: super::credentials::unaskable(&config),
            exposed: crate::configuration::exposed_tunnels(&config),
            admin_group_exists: admin_gid.is_some(),
        }),
        config_changed,
        disk: host::room(&state),
        audit_directory: host::directory(&state.join("audit")).map(|directory| (directory, admin_gid)),
        stale_generations: host::stale_generations(&client.layout.run.join("certs")),
        view: if wants_view { view::look(&client.layout.run) } else { View::Unwanted },
        layout: client.layout.clone(),
        status,
    }
}

async fn roots(client: &Client) -> Vec<Validity> {
    let bundle = client.call::<Bundle>(Call::of(Operation::Bundle)).await;
    let roots = bundle.map(|bundle| bundle.roots).unwrap_or_default();
    let one = |text: &String| {
        let block = pem::parse(text).ok()?;
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(block.contents()).ok()?;
        let validity = certificate.validity();
        Some(Validity { not_before: moment(validity.not_before), not_after: moment(validity.not_after) })
    };
    roots.iter().filter_map(one).collect()
}

async fn crls(client: &Client) -> Vec<Validity> {
    let crls = client.call::<Crls>(Call::of(Operation::Crl)).await;
    let crls = crls.map(|crls| crls.crls).unwrap_or_default();
    let one = |text: &String| {
        let block = pem::parse(text).ok()?;
        let (_, crl) = x509_parser::revocation_list::CertificateRevocationList::from_der(block.contents()).ok()?;
        Some(Validity { not_before: moment(crl.last_update()), not_after: moment(crl.next_update()?) })
    };
    crls.iter().filter_map(one).collect()
}

fn moment(time: ASN1Time) -> Moment {
    Moment::from_secs(time.timestamp())
}
