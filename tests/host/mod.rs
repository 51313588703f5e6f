//! One agent on one host.

mod first_light;
