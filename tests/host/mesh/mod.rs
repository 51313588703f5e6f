//! Many hosts: real agents in network namespaces. Needs root.

mod harness;
