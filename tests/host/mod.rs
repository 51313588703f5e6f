//! One agent on one host.

mod attestation;
mod clock;
mod damage;
mod denials;
mod first_light;
mod lifecycle;
mod openapi;
mod overload;
mod reference;
mod requests;
mod revocation;
mod secrets;
mod services;
mod tokens;
mod tour;
