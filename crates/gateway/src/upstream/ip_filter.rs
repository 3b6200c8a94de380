//! Addresses: the ranges a key may be used from, and which of them are nobody's but our own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    address: u128,
    prefix_len: u32,
    v4: bool,
}

impl IpNetwork {
    /// `10.0.0.0/8`, `2001:db8::/32`, or one address.
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

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
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

/// A host that is a private address, and no name.
pub(crate) fn is_private_literal(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(is_private)
}

/// Not of the public internet: loopback, private, link-local, shared, documentation, multicast, and
/// IPv6 forms of these.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 224
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = match segments {
                [0, 0, 0, 0, 0, 0xffff | 0, high, low]
                | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
                | [0x2002, high, low, ..] => Some((u32::from(high) << 16 | u32::from(low)).to_be_bytes()),
                _ => None,
            };
            v6.is_unspecified()
                || v6.is_loopback()
                || embedded.is_some_and(|octets| is_private(IpAddr::from(octets)))
                || segments[0] & 0xfe00 == 0xfc00
                || segments[0] & 0xffc0 == 0xfe80
                || segments[0] & 0xffc0 == 0xfec0
                || segments[0] & 0xff00 == 0xff00
                || segments[..2] == [0x2001, 0xdb8]
                || (segments[0] == 0x64 && segments[1] == 0xff9b && segments[2] == 1)
        }
    }
}

/// Finds the addresses of names: public ones alone, so that none leads into the operator's own
/// network, unless `private`.
#[derive(Clone)]
pub(crate) struct FilteredResolver {
    pub(crate) allow_private: bool,
}

impl Service<Name> for FilteredResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { allow_private: private } = *self;
        Box::pin(async move {
            let mut found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            found.retain(|address| private || !is_private(address.ip()));
            if found.is_empty() {
                let message = format!("`{name}` has no public address; `private = true` allows a private one");
                return Err(io::Error::other(message));
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_ranges_alone() {
        let contains = |range: &str, address: &str| IpNetwork::parse(range).unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "2001:db8::1") && contains("2001:db8::/32", "2001:db8:1::1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        for bad in ["10.0.0.0/33", "10.0.0.0/", "x", "", "10.0.0/8", "::/129", "10.0.0.0/-1"] {
            assert_eq!(IpNetwork::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn private_addresses_are_known_in_every_form() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::7f00:1",
            "fc00::1",
            "fe80::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "ff02::1",
            "fec0::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn names_that_lead_home_are_not_followed() {
        let found = FilteredResolver { allow_private: false }.call("localhost".parse().unwrap()).await;
        assert!(found.err().unwrap().to_string().contains("no public address"));
    }
}
