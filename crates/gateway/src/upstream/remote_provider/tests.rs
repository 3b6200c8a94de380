use super::*;

#[test]
fn a_base_url_that_hides_its_host_is_refused() {
    let upstream = |base_url: &str, private| {
        let key = Some(Secret::new("sk-operator"));
        let config = UpstreamConfig {
            name: "p".into(),
            preset: None,
            base_url: base_url.into(),
            dialect: Dialect::OpenAi,
            key,
            private,
            metrics: None,
        };
        Upstream::new(config).map(|upstream| upstream.endpoint_uri("models", None).unwrap().to_string())
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert_eq!(upstream("https://api.example.org/v1/", false).unwrap(), "https://api.example.org/v1/models");
    for tricky in [
        "https://api.example.org@10.0.0.1/v1",
        "ftp://api.example.org",
        "https://api.example.org/v1?x=",
        "file:///etc/passwd",
        "",
        "https://api.example.org/#",
    ] {
        assert!(matches!(upstream(tricky, true), Err(UpstreamError::Url(..))), "{tricky}");
    }
    // The URL parser accepts all of these as IP addresses.
    for private in [
        "http://127.0.0.1",
        "http://0x7f.1",
        "http://2130706433",
        "http://[::1]",
        "http://[::ffff:10.0.0.1]",
        "http://017700000001",
    ] {
        assert!(matches!(upstream(private, false), Err(UpstreamError::Private(..))), "{private}");
        assert!(upstream(private, true).is_ok(), "{private}");
    }
}
