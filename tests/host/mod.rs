//! One agent on one host.

mod attestation;
mod damage;
mod denials;
mod first_light;
mod lifecycle;
mod openapi;
mod overload;
mod reference;
mod requests;
mod secrets;
mod tokens;
