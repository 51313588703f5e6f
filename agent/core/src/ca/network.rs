//! Networks as limits of what a host may issue.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::mesh::collection::Network;

fn bits_of(address: &IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The first `bits` of an address of `width` bits.
fn prefix(value: u128, bits: u8, width: u8) -> u128 {
    let host = u32::from(width.saturating_sub(bits));
    value.checked_shr(host).unwrap_or(0).checked_shl(host).unwrap_or(0)
}

impl Network {
    /// True if `address` lies in it. An IPv4 address never lies in an IPv6 network.
    pub fn contains(&self, address: &IpAddr) -> bool {
        let ((own, width), (other, other_width)) = (bits_of(&self.address), bits_of(address));
        width == other_width && prefix(own, self.bits, width) == prefix(other, self.bits, width)
    }

    /// The same network by its first address.
    pub fn masked(&self) -> Self {
        let (value, width) = bits_of(&self.address);
        let first = prefix(value, self.bits, width);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::from(u32::try_from(first).unwrap_or_default().to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(first.to_be_bytes()),
        };
        Self { address, bits: self.bits }
    }

    /// The mask, as long as the address.
    pub fn mask(&self) -> IpAddr {
        let ones = match self.address {
            IpAddr::V4(_) => IpAddr::from([0xff; 4]),
            IpAddr::V6(_) => IpAddr::from([0xff; 16]),
        };
        Self { address: ones, bits: self.bits }.masked().address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is no network such as 10.1.0.0/16", text.chars().take(80).collect::<String>());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = bits_of(&address).1;
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        if bits > width { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_people_write_them() {
        for text in ["10.1.0.0/16", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0", "::1/128"] {
            let network: Network = text.parse().unwrap();
            assert_eq!((network.to_string(), network.masked()), (text.to_owned(), network), "{text}");
        }
        assert_eq!("10.0.0.1".parse::<Network>().unwrap().to_string(), "10.0.0.1/32");
        for bad in ["", "/", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0/8", "example.org/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn masks_are_as_long_as_their_addresses() {
        assert_eq!("10.1.0.0/12".parse::<Network>().unwrap().mask().to_string(), "255.240.0.0");
        assert_eq!("::/0".parse::<Network>().unwrap().mask().to_string(), "::");
        assert_eq!("10.17.3.4/12".parse::<Network>().unwrap().masked().to_string(), "10.16.0.0/12");
    }
}
