// STAND-IN, never committed
use reverie_core::{audit::*, ca::Serial, moment::Moment};
use zeroize::Zeroizing;
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct StateError;
impl StateError { pub fn damaged(_: impl Into<String>) -> Self { Self } }
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct OpenError;
#[derive(Clone, Copy, Debug)] pub enum Table { Authority, Identities, Secrets, Tokens }
#[derive(Clone, Debug)] pub struct IssuedRecord { pub serial: Serial, pub identity: String, pub spiffe_id: String, pub issuer: String, pub not_before: Moment, pub not_after: Moment, pub revoked_at: Option<Moment> }
pub enum Write { Put { table: Table, key: String, value: Zeroizing<Vec<u8>> }, Delete { table: Table, key: String }, Issued(IssuedRecord), Revoked { serial: Serial, at: Moment } }
pub struct Change { pub writes: Vec<Write>, pub events: Vec<Event> }
#[derive(Clone)] pub struct State;
pub struct AuditOptions { pub rotate_bytes: u64, pub keep: u32, pub admin_gid: Option<u32> }
pub struct Options { pub directory: std::path::PathBuf, pub audit: AuditOptions, pub now: Moment }
impl State {
  pub fn open(_: Options, _: &Zeroizing<[u8; 32]>) -> Result<Self, OpenError> { todo!() }
  pub async fn commit(&self, _: Change) -> Result<(), StateError> { todo!() }
  pub fn commit_blocking(&self, _: Change) -> Result<(), StateError> { todo!() }
  pub fn get(&self, _: Table, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> { todo!() }
  pub fn scan(&self, _: Table) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, StateError> { todo!() }
  pub fn issued(&self, _: &Serial) -> Result<Option<IssuedRecord>, StateError> { todo!() }
  pub fn issued_to(&self, _: &str, _: Moment) -> Result<Vec<IssuedRecord>, StateError> { todo!() }
  pub fn issued_newest(&self, _: Moment, _: usize) -> Result<Vec<IssuedRecord>, StateError> { todo!() }
  pub fn revoked_by(&self, _: &str) -> Result<Vec<(Serial, Moment)>, StateError> { todo!() }
  pub fn audit_head(&self) -> ChainHead { todo!() }
  pub fn audit_lines(&self, _: u64, _: usize) -> Result<Vec<String>, StateError> { todo!() }
  pub fn audit_verify(&self) -> Result<(Report, Option<SignedHead>), StateError> { todo!() }
  pub fn audit_public_key_pem(&self) -> String { todo!() }
  pub fn alarms(&self) -> Vec<(String, String)> { todo!() }
  pub async fn is_responsive(&self) -> bool { todo!() }
  pub fn close(self) { todo!() }
}
