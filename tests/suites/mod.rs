//! Real components, served by a real agent.

mod client;
mod cms;
mod envoy;
mod gss;
mod guides;
mod nginx;
mod postgres;
mod redis;
mod revoked;
mod second;
mod server;
mod service;
mod topology;
mod trust;
mod workload;
