//! The shell around `reverie-core`: one binary, one room per role. What passes between them is `reverie_core::ipc`.

#![forbid(unsafe_code)]

pub mod gss;
pub mod keeper;
pub mod net;
pub mod ops;
pub mod prober;
pub mod sealing;
pub mod tunnel;
pub mod view;
pub mod warden;
