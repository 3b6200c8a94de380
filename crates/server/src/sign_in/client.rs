//! The client of a request as it is seen behind the proxies of the configuration: its address, and
//! whether it uses TLS.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gateway::IpNetwork;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::local_access::{is_loopback_name, request_host};

/// The most characters of a user agent that are kept.
const MAX_USER_AGENT: usize = 200;

/// The client of a request.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The address of the connection, which is a proxy's behind one. The networks of keys are
    /// compared with it.
    pub(crate) peer: IpAddr,
    /// The scheme and host under which the client sees this server.
    pub(crate) origin: String,
    /// Whether the client is known to use TLS.
    pub(crate) tls: bool,
    /// Whether the client names this machine, so that nobody between sees what it sends.
    pub(crate) loopback: bool,
    pub(crate) user_agent: String,
}

impl Client {
    /// Reads the client from a request that `peer` has sent. The headers of a peer count only if
    /// `proxies` contains it.
    pub(crate) fn from_request(parts: &Parts, peer: SocketAddr, proxies: &[IpNetwork]) -> Self {
        let peer = peer.ip().to_canonical();
        let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
        let forwarded = is_proxy(peer).then_some(&parts.headers);
        let tls = forwarded.is_some_and(|headers| {
            // Each proxy appends its own value: the last is that of the nearest one.
            last_value(headers, "x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
        });
        let host = request_host(&parts.headers, &parts.uri).unwrap_or_default();
        let user_agent = parts.headers.get(header::USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
        let user_agent = String::from_utf8_lossy(user_agent);
        Self {
            address: forwarded.and_then(|headers| forwarded_address(headers, is_proxy)).unwrap_or(peer),
            peer,
            origin: format!("{}://{host}", if tls { "https" } else { "http" }),
            tls,
            loopback: is_loopback_name(host),
            user_agent: user_agent.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect(),
        }
    }

    /// The network of the address to which a limit applies: an IPv4 address, or the /64 of an IPv6
    /// address, which one client may have whole.
    pub(crate) fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            v4 => v4,
        }
    }
}

/// The last address in `x-forwarded-for` that is not a proxy: those before it may be invented.
fn forwarded_address(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    let addresses = values.iter().flat_map(|value| value.split(',')).rev();
    let mut last = None;
    for address in addresses {
        let Ok(address) = address.trim().parse::<IpAddr>() else { break };
        last = Some(address.to_canonical());
        if !is_proxy(address.to_canonical()) {
            break;
        }
    }
    last
}

fn last_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&str, &str)]) -> Client {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let proxies = ["10.0.0.0/8", "127.0.0.1"].map(|range| IpNetwork::parse(range).unwrap());
        Client::from_request(
            &request.body(()).unwrap().into_parts().0,
            SocketAddr::new(peer.parse().unwrap(), 1),
            &proxies,
        )
    }

    #[test]
    fn only_a_listed_proxy_may_say_who_the_client_is() {
        let forwarded = [("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.1.1.1"), ("x-forwarded-proto", "http, https")];
        let behind = client("10.0.0.1", &forwarded);
        assert_eq!((behind.address.to_string().as_str(), behind.tls), ("192.0.2.7", true));
        let direct = client("192.0.2.9", &forwarded);
        assert_eq!((direct.address.to_string().as_str(), direct.tls), ("192.0.2.9", false));
        assert_eq!(client("127.0.0.1", &[("x-forwarded-for", "nonsense")]).address.to_string(), "127.0.0.1");
        assert!(!client("10.0.0.1", &[("x-forwarded-proto", "https, http")]).tls);
    }

    #[test]
    fn the_origin_is_what_the_browser_shows() {
        let headers = [("host", "gateway.example.org"), ("x-forwarded-proto", "https"), ("user-agent", "Browser\t1")];
        let behind = client("10.0.0.1", &headers);
        assert_eq!((behind.origin.as_str(), behind.loopback), ("https://gateway.example.org", false));
        assert_eq!(behind.user_agent, "Browser1");
        let local = client("192.0.2.1", &[("host", "localhost:8000")]);
        assert_eq!((local.origin.as_str(), local.loopback), ("http://localhost:8000", true));
    }

    #[test]
    fn a_client_has_a_whole_network_of_ipv6() {
        assert_eq!(client("2001:db8:1:2:3::4", &[]).network().to_string(), "2001:db8:1:2::");
        assert_eq!(client("::ffff:192.0.2.1", &[]).network().to_string(), "192.0.2.1");
    }
}
