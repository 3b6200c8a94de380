//! Ranges of IP addresses, from which a key may be used.

use std::net::IpAddr;

/// A range of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    address: u128,
    prefix_len: u32,
    v4: bool,
}

impl IpNetwork {
    /// Parses `10.0.0.0/8`, `2001:db8::/32`, or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Self { address: address_bits(address), prefix_len: bits, v4: address.is_ipv4() })
    }

    /// Whether `address` is in the range. An IPv4 address is in no IPv6 range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let width = if self.v4 { 32 } else { 128 };
        let host_bits = width - self.prefix_len;
        let prefix = |number: u128| number.checked_shr(host_bits).unwrap_or(0);
        address.is_ipv4() == self.v4 && prefix(address_bits(address)) == prefix(self.address)
    }
}

fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_its_addresses_alone() {
        let contains = |range: &str, address: &str| IpNetwork::parse(range).unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "2001:db8::1") && contains("2001:db8::/32", "2001:db8:1::1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        for bad in ["10.0.0.0/33", "10.0.0.0/", "x", "", "10.0.0/8", "::/129", "10.0.0.0/-1"] {
            assert_eq!(IpNetwork::parse(bad), None, "{bad}");
        }
    }
}
