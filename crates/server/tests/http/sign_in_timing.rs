//! The time of a refused sign-in, which must not tell whether a user exists.

use std::time::{Duration, Instant};

use gateway::IpNetwork;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::TestAppBuilder;
use crate::sign_in::{TOKEN, admin, bare, invite};

const TRIES: usize = 200;

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Printed by `cargo test -p server --test http --release sign_in_timing -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    let set = |config: &mut server::ServerConfig| {
        config.admin_token = Some(Sha256::digest(TOKEN).into());
        config.proxies = vec![IpNetwork::parse("127.0.0.1").unwrap()];
    };
    let app = TestAppBuilder::without_keys().config(set).start_with_store().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    invite(&app, "olga", "member").await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..TRIES {
        for (name, times) in [("olga", &mut known), ("nobody", &mut unknown)] {
            // Every try has an address of its own, so that none has to wait.
            let address = format!("10.0.{}.{}", number / 250, number % 250 + 1);
            let request = bare(&app, "POST", "/admin/session").header("x-forwarded-for", &address);
            let request = request.json(json!({"name": name, "password": "wrong password!"}));
            let began = Instant::now();
            assert_eq!(request.send().await.status, 401);
            times.push(began.elapsed());
        }
    }
    let (known, unknown) = (median(&mut known), median(&mut unknown));
    eprintln!("wrong password {known:?}, unknown name {unknown:?}");
    let ratio = unknown.as_secs_f64() / known.as_secs_f64();
    assert!((0.9..=1.1).contains(&ratio), "{ratio}");
}
