//! `agentctl demo`: an agent of its own, in a scratch directory, for a look at what it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reverie_core::api::Operation;
use reverie_core::api::admin::{AuditVerdict, RotateRequest, Rotated, SealRequest, SecretSummary};
use reverie_core::api::local::{Certificate, IssueRequest, SecretValue};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Session;
use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::layout::{Hints, Layout, Scope};
use crate::own_agent::{Agent, PATIENCE, Scratch, answered};
use crate::screen::{GREEN, RESET, plain};

/// Start an agent of its own in a scratch directory, show the main job with it, and clear it away
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's program [default: reverie-agent beside this program, else on the PATH]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// What was shown, for programs.
#[derive(Default, serde::Serialize)]
struct Tour {
    steps: Vec<String>,
}

impl Args {
    /// Clears away whether the tour ends or is ended.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let caught = |kind| signal(kind).map_err(|error| Failure::new(Exit::Internal, error));
        let (mut interrupt, mut terminate) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
        let mut hangup = caught(SignalKind::hangup())?;
        let scratch = Scratch::new("reverie-demo")?;
        let _agent = Agent::start(self.agent, scratch.path(), &configuration(scratch.path()))?;
        tokio::select! {
            outcome = tour(session, &scratch) => outcome,
            _ = interrupt.recv() => Err(Failure::new(Exit::TempFail, "interrupted").advise("run it again")),
            _ = terminate.recv() => Err(Failure::new(Exit::TempFail, "terminated").advise("run it again")),
            _ = hangup.recv() => Err(Failure::new(Exit::TempFail, "the terminal went away").advise("run it again")),
        }
    }
}

async fn tour(session: &Session, scratch: &Scratch) -> Outcome {
    let hints = Hints { run: Some(scratch.path().join("run")), scope: Some(Scope::User), ..Hints::default() };
    let layout = Layout::resolve(hints, false, |_| None, |_| false);
    let client = Client { layout, timeout: session.client.timeout };
    let mut tour = Tour::default();
    let mut step = |text: String| -> Outcome {
        let shown = if session.screen.json { Ok(0) } else { session.screen.text(&format!("{GREEN}✓{RESET} {}", plain(&text))) };
        tour.steps.push(text);
        shown
    };

    let me = answered(&client).await?;
    let exe = me.caller.exe.as_ref().map(|exe| exe.shown_path.clone()).unwrap_or_default();
    step(format!("the kernel says who asks: pid {}, uid {}, {exe}", me.caller.pid, me.caller.uid))?;

    let issue = Call::of(Operation::IssueCertificate).named("web").body(&IssueRequest::default())?;
    let own: Certificate = client.call(issue).await?;
    step(format!("it may have {:?}: a certificate for {}, until {}", own.identity, own.spiffe_id, own.not_after))?;

    let certs = client.layout.run.join("certs/web");
    appear(&certs.join("tls.key")).await?;
    let before = read(&certs.join("tls.crt"))?;
    step(format!("the same as files: {}/{{tls.crt,tls.key,ca.crt,crl.pem,…}}", certs.display()))?;

    let rotate = Call::of(Operation::Rotate).body(&RotateRequest { identity: "web".to_owned() })?;
    let rotated: Rotated = client.call(rotate).await?;
    held(read(&certs.join("tls.crt"))? != before, "the files are those of before")?;
    step(format!("rotated: the files hold serial {} now, swapped in as one", rotated.certificate.serial))?;

    let value = STANDARD.encode("the owl flies at midnight");
    let seal = Call::of(Operation::SealSecret).named("greeting").body(&SealRequest { value: value.clone() })?;
    let _: SecretSummary = client.call(seal).await?;
    let secret: SecretValue = client.call(Call::of(Operation::ReadSecret).named("greeting")).await?;
    held(secret.value == value, "the secret reads otherwise than it was sealed")?;
    step("sealed a secret, and read it back as \"web\"".to_owned())?;

    let refused =
        client.call::<Certificate>(Call::of(Operation::IssueCertificate).named("payroll").body(&IssueRequest::default())?);
    let Err(why) = refused.await else { return Err(broken("an identity of another service was handed out")) };
    step(format!("refused: {}", why.what))?;

    let verdict: AuditVerdict = client.call(Call::of(Operation::AuditVerify)).await?;
    held(verdict.report.faults.is_empty(), "the audit log is not whole")?;
    step(format!("the audit log is whole: {} events, the refusal among them", verdict.report.events))?;
    if session.screen.json {
        return session.screen.json(&tour);
    }
    session.screen.text("That was an agent of its own; nothing of it is left. Yours begins with `agentctl init`.")
}

async fn appear(path: &Path) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while !path.exists() {
        held(Instant::now() < until, "no files were published in time")?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::reading(path, &error))
}

fn held(is: bool, otherwise: &str) -> Result<(), Failure> {
    if is { Ok(()) } else { Err(broken(otherwise)) }
}

fn broken(what: &str) -> Failure {
    Failure::new(Exit::Internal, what).advise("this is a fault of the agent: please report it, with `agentctl demo --json`")
}

fn configuration(place: &Path) -> String {
    let uid = nix::unistd::geteuid();
    format!(
        "trust_domain = \"demo.example\"\nnode_id = \"demo.example\"\n[paths]\nrun = {:?}\nstate = {:?}\n[seal]\nmode = \"file\"\n\
         [log]\nlevel = \"error\"\n\
         [[identity]]\nname = \"web\"\ndns = [\"localhost\"]\nmatch = {{ uid = {uid} }}\nfiles = {{ mode = \"0400\" }}\n\
         [[identity]]\nname = \"payroll\"\nmatch = {{ uid = {uid}, unit = \"payroll.service\" }}\n\
         [[secret]]\nname = \"greeting\"\nallow = [\"web\"]\n",
        place.join("run"),
        place.join("state"),
    )
}
