//! One agent on one host.

mod attestation;
mod audit;
mod clock;
mod crowd;
mod damage;
mod denials;
mod first_light;
mod formats;
mod handover;
mod lifecycle;
mod mesh;
mod openapi;
mod overload;
mod read_only;
mod reference;
mod requests;
mod revocation;
mod sealing;
mod secrets;
mod services;
mod signals;
mod tokens;
mod tour;
mod verbs;
mod verbs_refused;
mod view;
