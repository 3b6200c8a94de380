use std::sync::atomic::{AtomicUsize, Ordering};

use store::{Limits, NewKey, Store, TaskOwner};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use wire::upstream::Dialect;

use super::*;
use crate::billing::task_cache::TaskCache;
use crate::{Accounting, Prices, Router, RoutingPreference, UpstreamConfig, UpstreamModel};

const PRICES: &str = "[[price]]\nprovider='suno'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.5\n";

#[tokio::test]
async fn a_task_nobody_asks_for_is_looked_after_until_it_ends() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let status_requests = Arc::new(AtomicUsize::new(0));
    let seen = status_requests.clone();
    let fake = FakeUpstream::start(move |request| match request.method.as_str() {
        "POST" => FakeResponse::json(200, json!({"code": "success", "message": "", "data": "t1"})),
        // It goes on for a while, is not found for a moment, and fails.
        _ => match seen.fetch_add(1, Ordering::SeqCst) {
            0 => FakeResponse::json(200, json!({"code": "success", "data": {"status": "IN_PROGRESS"}})),
            1 => FakeResponse::json(502, json!({})),
            _ => FakeResponse::json(200, json!({"code": "success", "data": {"status": "FAILURE"}})),
        },
    })
    .await;
    let config = UpstreamConfig {
        name: "suno".into(),
        preset: None,
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
    let prices = Prices::parse(PRICES).unwrap();
    let (accounting, background_tasks) =
        Accounting::open(store.clone(), &folder.path().join("journal"), prices, None).await.unwrap();
    let mut routes = Router::default();
    let models: Vec<_> = upstream.models().await.unwrap().into_iter().map(UpstreamModel::from).collect();
    routes.add_upstream(&upstream, &models, RoutingPreference::default());
    let gateway = Gateway::new(routes, accounting);
    let alice = gateway.accounting().keys.find(&[0; 32], std::net::Ipv4Addr::LOCALHOST.into()).unwrap().unwrap();
    let left = || alice.remaining_budget().unwrap();

    let (kind, body) = (TaskKind::Suno, Bytes::from_static(b"{}"));
    let submission = TaskSubmission {
        kind,
        model: Some("suno_music"),
        path: "suno/submit/music",
        parent: None,
        body: &body,
        headers: HeaderMap::new(),
    };
    gateway.submit_task(&alice.clone().into(), submission).await.unwrap();
    assert_eq!(left(), 500_000_000);
    for _ in 0..100 {
        gateway.poll_open_tasks().await;
        if left() == 1_000_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(left(), 1_000_000_000);
    let times = status_requests.load(Ordering::SeqCst);
    gateway.poll_open_tasks().await;
    assert_eq!(status_requests.load(Ordering::SeqCst), times, "it has ended");
    background_tasks.finish().await;
    let outcomes: Vec<_> = store.latest_records(9).await.unwrap().into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, ["refunded", "stop"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let recent = TaskCache::default();
    let task = |number: usize| Task {
        id: TaskId { kind: "suno".into(), id: number.to_string() },
        provider_id: format!("p{number}"),
        upstream: "".into(),
        model: "".into(),
        project_id: None,
        key_id: None,
        key_name: "".into(),
        record_id: String::new(),
        cost: 0,
        created_at: store::now_micros() + number as i64,
        is_open: true,
    };
    for number in 0..2 * TaskCache::MAX_TASKS {
        recent.insert(task(number));
    }
    let owner = TaskOwner { project_id: None, key_name: "" };
    assert!(recent.open_tasks().len() <= TaskCache::MAX_TASKS);
    assert!(
        recent.find(&task(2 * TaskCache::MAX_TASKS - 1).id, owner).is_some()
            && recent.find(&task(0).id, owner).is_none()
    );
    let theirs = |number: usize| TaskId { kind: "suno".into(), id: format!("p{number}") };
    assert!(
        recent.find(&theirs(2 * TaskCache::MAX_TASKS - 1), owner).is_some() && recent.find(&theirs(0), owner).is_none()
    );
}
