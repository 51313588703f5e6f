//! Every decision Reverie makes, without I/O.
//!
//! Nothing here opens a file or socket, reads a clock or draws a random number: time and randomness are
//! arguments, effects are return values. The shell (`reverie-agent`) performs them.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`id`] | what a name may look like: trust domain, node, identity, secret, SPIFFE ID, DNS name |
//! | [`moment`] | points in time and lengths of time, as the operator writes them |
//! | [`clock`] | whether the wall clock ran or was set |
//! | [`caller`] | what is known of a local process, and how its systemd unit is read from a cgroup path |
//! | [`certificate_file`] | the files of an identity, by whichever way they are handed out |
//! | [`credential`] | what systemd asks for on behalf of a unit, and when it is believed |
//! | [`rule`] | who may have which identity: selectors, the judge, the explanation |
//! | [`config`] | the configuration file: strict parsing, merging of drop-ins |
//! | [`ca`] | certificate templates and the life of roots, intermediates and leaves |
//! | [`renewal`] | when a certificate is renewed |
//! | [`audit`] | audit events, the hash chain, and how a damaged chain is located |
//! | [`capability`] | Biscuit tokens: operations, minting, attenuation, authorisation |
//! | [`federation`] | trust bundles of other trust domains: their form, and when to fetch them again |
//! | [`jwt`] | token-signing keys, what SPIFFE tokens say, and when one counts |
//! | [`api`] | requests and answers of the local HTTP API, shared with `agentctl` |
//! | [`view`] | what one process sees in the file view |
//! | [`mesh`] | records that hosts agree on, envelopes, gossip rounds |
//! | [`ipc`] | what the roles (keeper, warden, prober, net, gss, view) say to each other |

#![forbid(unsafe_code)]

pub mod api;
pub mod audit;
pub mod ca;
pub mod caller;
pub mod capability;
pub mod certificate_file;
pub mod clock;
pub mod config;
pub mod credential;
pub mod federation;
pub mod http2;
pub mod id;
pub mod ipc;
pub mod jwt;
pub mod mesh;
pub mod moment;
pub mod renewal;
pub mod rule;
pub mod sds;
pub mod view;
