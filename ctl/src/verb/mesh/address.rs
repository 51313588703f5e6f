//! Where a member is reached.

use std::net::Ipv6Addr;

use reverie_core::id::NodeId;

/// The port of the mesh.
const PORT: u16 = 7438;

/// `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS]:PORT`, as `host:port`.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address: write HOST or HOST:PORT, an IPv6 address with a port as [ADDRESS]:PORT");
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]:{PORT}"));
    }
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
        None => (text, PORT),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_good = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        // An IPv4 address has the form of a name too.
        None => host.to_lowercase().parse::<NodeId>().is_ok(),
    };
    if is_good { Ok(format!("{}:{port}", host.to_lowercase())) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_of_its_own_or_that_of_the_mesh() {
        for (text, expected) in [
            ("Host1.example.org", "host1.example.org:7438"),
            ("host1.example.org:1", "host1.example.org:1"),
            ("10.0.0.1", "10.0.0.1:7438"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("fe80::1", "[fe80::1]:7438"),
            ("[fe80::1]:99", "[fe80::1]:99"),
            ("[::]", "[::]:7438"),
        ] {
            assert_eq!(parse(text).as_deref().unwrap_or("refused"), expected, "{text}");
        }
        for bad in ["", ":1", "a:0", "a:65536", "a:b", "https://a", "a/b", "[x]:1", "a b", "a:1:2", "[10.0.0.1]:1"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
