//! The keeper: keys, store, rules, judge, rotation, local sockets.

pub mod state;
