use super::*;

#[test]
fn the_example_file_shows_the_defaults() {
    let example = include_str!("../../../../cachalot.example.toml");
    let config: Config = toml::from_str(example).unwrap();
    let (got, want) = (format!("{config:?}"), format!("{:?}", Config::default()));
    assert_eq!(got, want);
    // Every setting is in the file, commented out or not.
    for setting in [
        "listen",
        "key_env",
        "sha256",
        "models",
        "role",
        "admin_token_env",
        "hosts",
        "cors_origins",
        "grace_s",
        "stream_keepalive_s",
        "reply_keepalive_s",
        "inflight_bytes",
        "inflight_share",
        "queue",
        "max_running",
        "batch_tokens",
        "seed",
        "profile",
        "url",
        "url_env",
        "journal",
        "redis",
        "redis_env",
        "prices",
        "routing",
        "expose_provider",
        "overdraft",
        "key_envs",
        "base_url",
        "dialect",
        "private",
        "rename",
        "otlp",
        "metrics",
        "timeout_s",
        "priority",
        "weight",
        "row",
    ] {
        assert!(example.contains(setting), "{setting}");
    }
}

#[test]
fn a_misspelt_setting_is_an_error_with_its_line() {
    let error = toml::from_str::<Config>("[server]\nlissten = \"x\"\n").unwrap_err().to_string();
    assert!(error.contains("lissten") && error.contains("line 2"), "{error}");
}

#[test]
fn sizes_take_units() {
    assert_eq!(parse_bytes("4GiB"), Ok(4 << 30));
    assert_eq!(parse_bytes("1.5k"), Ok(1536));
    assert_eq!(parse_bytes("77"), Ok(77));
    assert_eq!(parse_bytes("9007199254740993"), Ok(9_007_199_254_740_993));
    for bad in [
        "4 parsecs",
        "",
        "0",
        "0GiB",
        "0.0",
        "-1",
        "-1GiB",
        "99999999999999999999GiB",
        "99999999999999999999",
        "18446744073709551616",
        "16777216TiB",
        "1e3",
        "inf",
        "NaN",
        ".",
        "1.2.3",
        "0.0000001k",
        "٣",
    ] {
        assert!(parse_bytes(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_needs_exactly_one_source() {
    let key = |key_env: Option<&str>, sha256: Option<&str>| Key {
        name: "a".into(),
        key_env: key_env.map(Into::into),
        sha256: sha256.map(Into::into),
        models: None,
        role: None,
    };
    let digest = "ab".repeat(32);
    assert_eq!(key(None, Some(&digest)).digest().unwrap(), [0xab; 32]);
    for bad in [
        key(None, None),
        key(Some("X"), Some(&digest)),
        key(None, Some("abc")),
        key(Some("CACHALOT_NO_SUCH_VARIABLE"), None),
    ] {
        assert!(bad.digest().is_err());
    }
}
