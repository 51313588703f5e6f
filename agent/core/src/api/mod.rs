//! The local HTTP API: operations, requests, answers, errors. Shared by the agent and `agentctl`.
//!
//! `/v1/…` on `agent.sock` for every local process, `/api/admin/…` on `admin.sock` for administrators.

pub mod admin;
pub mod local;
pub mod mesh;
mod openapi;
mod operation;
mod problem;

pub use openapi::document;
pub use operation::{Method, Operation, Surface};
pub use problem::{Code, Problem};
