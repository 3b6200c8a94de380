use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat::Error;
use http::header::HeaderMap;
use serde_json::json;
use store::{Limits, NewKey, Store, Task, TaskId, TaskOwner};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::tasks::TaskKind;
use wire::upstream::Dialect;

use crate::billing::task_cache::TaskCache;
use crate::{
    Accounting, Caller, Gateway, Prices, Router, RoutingPreference, TaskReply, TaskSubmission, Upstream,
    UpstreamConfig, UpstreamModel,
};

const PRICES: &str = "[[price]]\nprovider='suno'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.5\n";

fn suno_provider(name: &str, fake: &FakeUpstream) -> Arc<Upstream> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = UpstreamConfig {
        name: name.into(),
        preset: None,
        base_url: format!("http://{}", fake.address),
        dialect: Dialect::Suno,
        key: None,
        private: true,
        metrics: None,
    };
    Arc::new(Upstream::new(config).unwrap())
}

async fn submit_song(gateway: &Gateway, caller: &Caller) -> Result<TaskReply, Error> {
    let submission = TaskSubmission {
        kind: TaskKind::Suno,
        model: Some("suno_music"),
        path: "suno/submit/music",
        parent: None,
        body: &Bytes::from_static(b"{}"),
        headers: HeaderMap::new(),
    };
    gateway.submit_task(caller, submission).await
}

#[tokio::test]
async fn a_submission_goes_to_another_provider_only_after_a_refusal() {
    let accepted = || FakeResponse::json(200, json!({"code": "success", "message": "", "data": "t1"}));
    for (answer, is_replaced, is_healthy) in [
        (FakeResponse::json(429, json!({})), true, false),
        (FakeResponse::json(503, json!({})), true, false),
        (FakeResponse::json(500, json!({})), false, false),
        (FakeResponse::json(400, json!({})), false, true),
        // The provider may have accepted the task.
        (FakeResponse::json(200, json!({"status": "ok"})), false, false),
        (FakeResponse::stream([BodyStep::Disconnect]), false, false),
    ] {
        let name = format!("{answer:?}");
        let failing = FakeUpstream::start(move |_| answer.clone()).await;
        let good = FakeUpstream::start(move |_| accepted()).await;
        let mut router = Router::default();
        for (name, fake, priority) in [("failing", &failing, 0), ("good", &good, 1)] {
            let preference = RoutingPreference { priority, weight: 1 };
            router.add_upstream(&suno_provider(name, fake), &["suno_music".into()], preference);
        }
        let gateway = Gateway::new(router, Arc::default());
        assert_eq!(submit_song(&gateway, &Caller::default()).await.is_ok(), is_replaced, "{name}");
        assert_eq!((failing.requests().len(), good.requests().len()), (1, usize::from(is_replaced)), "{name}");
        assert_eq!(gateway.route_table()[0].targets[0].healthy, is_healthy, "{name}");
    }
}

#[tokio::test]
async fn an_open_task_is_polled_until_it_ends() {
    let status_requests = Arc::new(AtomicUsize::new(0));
    let seen = status_requests.clone();
    let fake = FakeUpstream::start(move |request| match request.method.as_str() {
        "POST" => FakeResponse::json(200, json!({"code": "success", "message": "", "data": "t1"})),
        // The task is in progress, then the provider fails once, then the task has failed.
        _ => match seen.fetch_add(1, Ordering::SeqCst) {
            0 => FakeResponse::json(200, json!({"code": "success", "data": {"status": "IN_PROGRESS"}})),
            1 => FakeResponse::json(502, json!({})),
            _ => FakeResponse::json(200, json!({"code": "success", "data": {"status": "FAILURE"}})),
        },
    })
    .await;
    let upstream = suno_provider("suno", &fake);
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
    let mut router = Router::default();
    let models: Vec<_> = upstream.models().await.unwrap().into_iter().map(UpstreamModel::from).collect();
    router.add_upstream(&upstream, &models, RoutingPreference::default());
    let gateway = Gateway::new(router, accounting);
    let alice = gateway.accounting().keys.find(&[0; 32], std::net::Ipv4Addr::LOCALHOST.into()).unwrap().unwrap();
    let remaining = || alice.remaining_budget().unwrap();

    submit_song(&gateway, &alice.clone().into()).await.unwrap();
    assert_eq!(remaining(), 500_000_000);
    for _ in 0..100 {
        gateway.poll_open_tasks().await;
        if remaining() == 1_000_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(remaining(), 1_000_000_000);
    let times = status_requests.load(Ordering::SeqCst);
    gateway.poll_open_tasks().await;
    assert_eq!(status_requests.load(Ordering::SeqCst), times, "an ended task is not polled");
    background_tasks.finish().await;
    let outcomes: Vec<_> = store.latest_records(9).await.unwrap().into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, ["refunded", "stop"]);
}

#[test]
fn the_task_cache_is_bounded() {
    let recent = TaskCache::default();
    let task = |number: usize| Task {
        id: TaskId { kind: "suno".into(), id: number.to_string() },
        provider_id: format!("p{number}"),
        upstream: "".into(),
        model: "".into(),
        project_id: None,
        key_id: None,
        key_name: "".into(),
        end_user: None,
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
    let provider_id = |number: usize| TaskId { kind: "suno".into(), id: format!("p{number}") };
    assert!(
        recent.find(&provider_id(2 * TaskCache::MAX_TASKS - 1), owner).is_some()
            && recent.find(&provider_id(0), owner).is_none()
    );
}
