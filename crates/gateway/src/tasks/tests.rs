use std::sync::atomic::{AtomicUsize, Ordering};

use store::{Limits, NewKey, Owner, Store};
use testkit::FakeUpstream;
use testkit::upstream::Answer;
use wire::upstream::Dialect;

use super::*;
use crate::recent::Recent;
use crate::{Books, Model, Prices, Rank, Routes, UpstreamConfig};

const PRICES: &str = "[[price]]\nprovider='suno'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.5\n";

#[tokio::test]
async fn a_task_nobody_asks_for_is_looked_after_until_it_ends() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let fake = FakeUpstream::start(move |request| match request.method.as_str() {
        "POST" => Answer::json(200, json!({"code": "success", "message": "", "data": "t1"})),
        // It goes on for a while, is not found for a moment, and fails.
        _ => match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::json(200, json!({"code": "success", "data": {"status": "IN_PROGRESS"}})),
            1 => Answer::json(502, json!({})),
            _ => Answer::json(200, json!({"code": "success", "data": {"status": "FAILURE"}})),
        },
    })
    .await;
    let config = UpstreamConfig {
        name: "suno".into(),
        row: None,
        base_url: format!("http://{}", fake.address),
        dialect: Dialect::Suno,
        key: None,
        private: true,
        metrics: None,
    };
    let upstream = Arc::new(Upstream::new(config).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
    let project = store.add_project("p", None).await.unwrap();
    let (hash, limits) = ("0".repeat(64), Limits { budget: Some(1_000_000_000), ..Limits::default() });
    store
        .add_key(NewKey { project: &project, user: None, name: "alice", hash: &hash, tail: "", limits })
        .await
        .unwrap();
    let prices = Prices::read(PRICES).unwrap();
    let (books, keepers) = Books::open(store.clone(), &folder.path().join("journal"), prices, None).await.unwrap();
    let mut routes = Routes::default();
    let models: Vec<_> = upstream.models().await.unwrap().into_iter().map(Model::from).collect();
    routes.remote(&upstream, &models, Rank::default());
    let gateway = Gateway::new(routes, books);
    let alice = gateway.books().accounts.find(&[0; 32], std::net::Ipv4Addr::LOCALHOST.into()).unwrap().unwrap();
    let left = || alice.left().unwrap();

    let (kind, body) = (TaskKind::Suno, Bytes::from_static(b"{}"));
    let submission = Submission {
        kind,
        model: Some("suno_music"),
        path: "suno/submit/music",
        parent: None,
        body: &body,
        headers: HeaderMap::new(),
    };
    gateway.submit(&alice.clone().into(), submission).await.unwrap();
    assert_eq!(left(), 500_000_000);
    for _ in 0..100 {
        gateway.look_after_tasks().await;
        if left() == 1_000_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(left(), 1_000_000_000);
    let times = asked.load(Ordering::SeqCst);
    gateway.look_after_tasks().await;
    assert_eq!(asked.load(Ordering::SeqCst), times, "it has ended");
    keepers.finish().await;
    let outcomes: Vec<_> = store.records(9).await.unwrap().into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, ["refunded", "stop"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let recent = Recent::default();
    let job = |number: usize| Job {
        id: JobId { kind: "suno".into(), id: number.to_string() },
        provider_id: format!("p{number}"),
        upstream: "".into(),
        model: "".into(),
        project_id: None,
        key_id: None,
        key_name: "".into(),
        record_id: String::new(),
        cost: 0,
        created_at: store::now() + number as i64,
        open: true,
    };
    for number in 0..2 * Recent::MOST {
        recent.remember(job(number));
    }
    let owner = Owner { project_id: None, key_name: "" };
    assert!(recent.open().len() <= Recent::MOST);
    assert!(recent.find(&job(2 * Recent::MOST - 1).id, owner).is_some() && recent.find(&job(0).id, owner).is_none());
    let theirs = |number: usize| JobId { kind: "suno".into(), id: format!("p{number}") };
    assert!(recent.find(&theirs(2 * Recent::MOST - 1), owner).is_some() && recent.find(&theirs(0), owner).is_none());
}
