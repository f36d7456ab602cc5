//! What counts as one client where limits are held for an address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One client: an IPv4 address, or the /64 of an IPv6 address, since that is what one household or host is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address. An IPv4 address mapped into IPv6 is that IPv4 address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Network {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Network(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))),
            v4 => Network(v4),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (ip, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(Network::of(ip.parse().unwrap()).to_string(), network);
        }
    }
}
