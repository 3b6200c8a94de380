//! A provider with the key `sk-operator` at the address of a fake one.

use std::sync::Arc;

use gateway::{Secret, Upstream, UpstreamConfig};
use wire::upstream::Dialect;

pub(crate) fn upstream(name: &str, base_url: String, dialect: Dialect) -> Arc<Upstream> {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (key, metrics) = (Some(Secret::new("sk-operator")), Some("/metrics".into()));
    let config = UpstreamConfig { name: name.into(), preset: None, base_url, dialect, key, private: true, metrics };
    Arc::new(Upstream::new(config).unwrap())
}
