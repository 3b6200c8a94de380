//! The first lines of `cachalot serve` for a person at a terminal: the addresses, the model, the
//! data, and how to stop.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The facts about a server that has started.
#[derive(Clone, Debug)]
pub(crate) struct Banner {
    pub(crate) address: SocketAddr,
    pub(crate) has_console: bool,
    /// The local model; `None` for a gateway alone.
    pub(crate) model: Option<String>,
    /// The number of remote providers.
    pub(crate) providers: usize,
    /// The data folder; `None` where the store is off.
    pub(crate) data: Option<PathBuf>,
}

/// The address under which this machine reaches the server.
pub(crate) fn local_address(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = local_address(self.address);
        let everywhere =
            if self.address.ip().is_unspecified() { ", and the other addresses of this machine" } else { "" };
        writeln!(f, "\ncachalot {}\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  API      http://{host}/v1{everywhere}")?;
        if self.has_console {
            writeln!(f, "  Console  http://{host}/console/")?;
        }
        writeln!(f, "  Model    {}", self.model.as_deref().unwrap_or("none of this machine"))?;
        if self.providers > 0 {
            writeln!(
                f,
                "  Gateway  to {} {}",
                self.providers,
                if self.providers == 1 { "provider" } else { "providers" }
            )?;
        }
        match &self.data {
            Some(data) => writeln!(f, "  Data     {}", data.display())?,
            None => writeln!(f, "  Data     nothing is kept: the store is off")?,
        }
        writeln!(f, "  Stop     Ctrl-C")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_says_what_is_there() {
        let mut banner = Banner {
            address: "0.0.0.0:8000".parse().unwrap(),
            has_console: true,
            model: Some("minnow".into()),
            providers: 2,
            data: Some("/var/lib/cachalot".into()),
        };
        let text = banner.to_string();
        for line in [
            "  API      http://127.0.0.1:8000/v1, and the other addresses of this machine\n",
            "  Console  http://127.0.0.1:8000/console/\n",
            "  Model    minnow\n",
            "  Gateway  to 2 providers\n",
            "  Data     /var/lib/cachalot\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        banner = Banner { address: "[::1]:80".parse().unwrap(), has_console: false, model: None, data: None, ..banner };
        let text = banner.to_string();
        assert!(text.contains("http://[::1]:80/v1\n") && !text.contains("Console"), "{text}");
        assert!(text.contains("the store is off") && text.contains("none of this machine"), "{text}");
    }
}
