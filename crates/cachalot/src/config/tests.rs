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
        "shutdown_grace_s",
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
        "preset",
    ] {
        assert!(example.contains(setting), "{setting}");
    }
}

#[test]
fn a_misspelt_setting_is_an_error_with_its_line() {
    let error = toml::from_str::<Config>("[server]\nlissten = \"x\"\n").unwrap_err().to_string();
    assert!(error.contains("lissten") && error.contains("line 2"), "{error}");
}
