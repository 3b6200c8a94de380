use gateway::{Gateway, InflightBudget, Router};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::ServerConfig;
use crate::metrics;

#[tokio::test]
async fn a_reader_that_takes_nothing_is_disconnected() {
    let config = ServerConfig::default();
    let app = Arc::new(AppState {
        gateway: Arc::new(Gateway::new(Router::default(), Arc::default())),
        controller: None,
        listen: ([127, 0, 0, 1], 0).into(),
        metrics: metrics::recorder().unwrap(),
        memory: InflightBudget::new(config.inflight),
        sign_in: Default::default(),
        signing_key: [0; 32],
        tails: Arc::default(),
        shutdown_started: CancellationToken::new(),
        stopping: tokio::sync::watch::channel(false).1,
        config,
    });
    let connection = ConnectionHandle::default();
    let request = http::Request::get("/admin/tail").extension(connection.clone()).body(()).unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let tail = Tail {
        events: app.gateway.accounting().request_events.subscribe(),
        readable: Some(RecordOwner::Everyone),
        sampler: Sampler::new(Instant::now()),
        filter: RecordOwner::Everyone.into(),
        projects: ProjectNames::default(),
        unknown_project: false,
        parts: request.into_parts().0,
        peer: [127, 0, 0, 1].into(),
        send_timeout: Duration::from_millis(50),
        _slot: app.tails.take(None).ok().unwrap(),
        app: app.clone(),
    };
    // The chunk that the client has not read fills the channel.
    sender.try_send(Bytes::from_static(b"unread")).unwrap();
    tail.run(sender).await;
    connection.closed().await;
    assert_eq!(app.tails.open(), 0);
    drop(receiver);
}
