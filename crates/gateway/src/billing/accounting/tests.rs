use std::net::{IpAddr, Ipv4Addr};

use chat::{BoxDeltaStream, BoxFuture, Chat, Delta, FinishReason, Message, Provider, Role, StartedAnswer, Usage};
use futures_util::{StreamExt, stream};
use store::{BudgetOwner, BudgetPeriod, BudgetScope, BudgetTerms, BudgetZone, Limits, NewKey};
use tempfile::TempDir;

use super::*;
use crate::{Caller, Gateway, MeteredStream, Router};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers with four words and their usage. The first stop string is a command: `refuse` fails, and
/// `silent` leaves the usage out.
struct FakeProvider;

impl Provider for FakeProvider {
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        let command = chat.stop.first().cloned().unwrap_or_default();
        Box::pin(async move {
            if command == "refuse" {
                return Err(Error::new(ErrorKind::Overloaded, "full"));
            }
            let word = Delta::Text { text: "word ".into(), logprobs: vec![] };
            let mut deltas = vec![Delta::Start(Usage { prompt_tokens: 10, ..Usage::default() })];
            deltas.extend([word.clone(), word.clone(), word.clone(), word, Delta::Finish(FinishReason::Stop)]);
            if command != "silent" {
                deltas.push(Delta::Usage(Usage { prompt_tokens: 10, completion_tokens: 5, ..Usage::default() }));
            }
            Ok((Box::pin(stream::iter(deltas.into_iter().map(Ok))) as BoxDeltaStream).into())
        })
    }
}

/// One dollar for each token.
const PRICES: &str = "[[price]]\nprovider='local'\nmodel='*'\nsource='s'\ndate='d'\ninput=1000000\noutput=1000000\n";
const DOLLAR: i64 = 1_000_000_000;

/// The hash of a key: its name, padded.
fn hash(name: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..name.len()].copy_from_slice(name.as_bytes());
    hash
}

fn hex(name: &str) -> String {
    hash(name).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Fixture {
    folder: TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        store.add_project("p", None).await.unwrap();
        Self { folder, store }
    }

    async fn open(&self) -> (Gateway, BackgroundTasks) {
        let prices = Prices::parse(PRICES).unwrap();
        let journal = self.folder.path().join("journal");
        let (accounting, background_tasks) =
            Accounting::open(self.store.clone(), &journal, prices, None).await.unwrap();
        (Gateway::new(Router::for_local_model(Arc::new(FakeProvider), "m", false), accounting), background_tasks)
    }

    async fn add_key(&self, name: &str, limits: Limits) {
        let project = self.store.project("p").await.unwrap();
        self.store
            .add_key(NewKey { project: &project, user: None, name, hash: &hex(name), tail: "", limits })
            .await
            .unwrap();
    }

    async fn outcomes(&self) -> Vec<(String, i64, i64, i64, bool)> {
        let records = self.store.latest_records(100).await.unwrap().into_iter().rev();
        records
            .map(|r| (r.outcome.into_owned(), r.prompt_tokens, r.completion_tokens, r.cost / DOLLAR, r.estimated))
            .collect()
    }
}

fn caller(gateway: &Gateway, name: &str) -> Caller {
    gateway.accounting().keys.find(&hash(name), LOCALHOST).unwrap().expect("the key exists").into()
}

async fn send_chat(gateway: &Gateway, caller: &Caller, command: &str) -> Result<MeteredStream, Error> {
    let input = chat::Input::Messages(vec![Message::new(Role::User, "x".repeat(18))]);
    let chat = Chat { model: "m".into(), input, max_tokens: Some(20), stop: vec![command.into()], ..Chat::default() };
    gateway.answer(caller, chat).await
}

#[tokio::test]
async fn every_way_a_request_ends_is_recorded_once() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits::default()).await;
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    let whole = send_chat(&gateway, &alice, "").await.unwrap();
    assert_eq!(whole.count().await, 7);
    let mut dropped = send_chat(&gateway, &alice, "").await.unwrap();
    for _ in 0..3 {
        dropped.next().await.unwrap().unwrap();
    }
    drop(dropped);
    drop(send_chat(&gateway, &alice, "").await.unwrap());
    assert!(send_chat(&gateway, &alice, "refuse").await.is_err());
    assert_eq!(send_chat(&gateway, &alice, "silent").await.unwrap().count().await, 6);
    background_tasks.finish().await;
    let want = [
        ("stop", 10, 5, 15, false),
        ("cancelled", 10, 2, 12, true),
        ("cancelled", 0, 0, 0, false),
        ("overload", 0, 0, 0, false),
        ("stop", 10, 4, 14, true),
    ];
    assert_eq!(fixture.outcomes().await, want.map(|(o, p, c, cost, e)| (o.to_owned(), p, c, cost, e)));
    assert_eq!(fixture.store.keys().await.unwrap()[0].spent, 41 * DOLLAR);
    assert_eq!(fixture.store.project("p").await.unwrap().spent, 41 * DOLLAR);
    let journal = fixture.folder.path().join("journal");
    assert_eq!(std::fs::read_dir(journal).unwrap().count(), 0, "all is committed");
}

#[tokio::test]
async fn a_crash_and_a_second_server_leave_what_is_spent_of_a_window() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits::default()).await;
    let key = fixture.store.key("alice").await.unwrap();
    let (scope, period, zone) = (BudgetScope::Owner, BudgetPeriod::Total, BudgetZone::default());
    let terms = BudgetTerms { scope, period, zone, amount: Some(40 * DOLLAR), warn_at: None };
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    // A budget that is made while a request runs counts it.
    let running = send_chat(&gateway, &alice, "").await.unwrap();
    fixture.store.set_budgets(BudgetOwner::Key(&key), &[terms]).await.unwrap();
    gateway.accounting().refresh_keys().await.unwrap();
    running.count().await;
    background_tasks.finish().await;
    assert_eq!(alice.api_key.as_ref().unwrap().remaining_budget(), Some(25 * DOLLAR));
    drop((gateway, alice));

    // The process crashes while a request runs: its prompt is booked.
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    let interrupted = send_chat(&gateway, &alice, "").await.unwrap();
    for task in background_tasks.tasks {
        task.abort();
        let _ = task.await;
    }
    let journal = fixture.folder.path().join("journal");
    let copy = std::fs::read_dir(&journal).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&copy, copy.with_file_name("1.journal")).unwrap();
    let (second, background_tasks) = fixture.open().await;
    let again = caller(&second, "alice");
    assert_eq!(again.api_key.as_ref().unwrap().remaining_budget(), Some(15 * DOLLAR));
    drop(interrupted);
    send_chat(&second, &again, "").await.unwrap().count().await;
    let error = send_chat(&second, &again, "").await.err().unwrap();
    let message = "Insufficient Balance: the budget of the key `alice` does not cover this request";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InsufficientBalance, message));
    background_tasks.finish().await;
    // The first server, which lives on, reads what the second one has spent.
    gateway.accounting().refresh_keys().await.unwrap();
    assert!(send_chat(&gateway, &alice, "").await.is_err());
}

#[tokio::test]
async fn a_budget_ends_and_can_be_raised() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits { budget: Some(20 * DOLLAR), ..Limits::default() }).await;
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    assert_eq!(alice.api_key.as_ref().unwrap().remaining_budget(), Some(20 * DOLLAR));
    send_chat(&gateway, &alice, "").await.unwrap().count().await;
    // 5 of 20 are left. One more request may overdraw them.
    let running = send_chat(&gateway, &alice, "").await.unwrap();
    assert_eq!(send_chat(&gateway, &alice, "").await.err().unwrap().kind, ErrorKind::InsufficientBalance);
    running.count().await;
    assert_eq!(alice.api_key.as_ref().unwrap().remaining_budget(), Some(-10 * DOLLAR));
    let error = send_chat(&gateway, &alice, "").await.err().unwrap();
    let message = "Insufficient Balance: the budget of the key `alice` does not cover this request";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InsufficientBalance, message));
    background_tasks.finish().await;
    // The next process reads the spent amount from the store.
    let (gateway, background_tasks) = fixture.open().await;
    assert_eq!(caller(&gateway, "alice").api_key.unwrap().remaining_budget(), Some(-10 * DOLLAR));
    background_tasks.finish().await;
}

#[tokio::test]
async fn a_request_that_a_crash_interrupted_is_settled_once_at_the_next_start() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits::default()).await;
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    let running = send_chat(&gateway, &alice, "").await.unwrap();
    send_chat(&gateway, &alice, "").await.unwrap().count().await;
    // The process crashes: its background tasks end.
    for task in &background_tasks.tasks {
        task.abort();
    }
    std::mem::forget(running);
    let journal = fixture.folder.path().join("journal");
    let copy = std::fs::read_dir(&journal).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&copy, copy.with_file_name("1.journal")).unwrap();
    for _ in 0..2 {
        let (_, background_tasks) = fixture.open().await;
        background_tasks.finish().await;
        let mut outcomes = fixture.outcomes().await;
        outcomes.sort();
        // The estimate of the prompt is ten tokens: 18 bytes and 12 for the message.
        assert_eq!(outcomes, [("crashed".into(), 10, 0, 10, true), ("stop".into(), 10, 5, 15, false)]);
    }
    assert_eq!(fixture.store.keys().await.unwrap()[0].spent, 25 * DOLLAR);
}

#[tokio::test]
async fn keys_that_another_process_adds_or_revokes_are_seen() {
    let fixture = Fixture::new().await;
    let (gateway, background_tasks) = fixture.open().await;
    let keys = &gateway.accounting().keys;
    assert!(!keys.requires_key() && keys.find(&hash("alice"), LOCALHOST).unwrap().is_none());
    fixture.add_key("alice", Limits::default()).await;
    keys.refresh(&fixture.store).await.unwrap();
    assert!(keys.requires_key() && keys.find(&hash("alice"), LOCALHOST).unwrap().is_some());
    fixture.store.revoke_key("alice").await.unwrap();
    keys.refresh(&fixture.store).await.unwrap();
    assert!(keys.requires_key() && keys.find(&hash("alice"), LOCALHOST).unwrap().is_none());
    // While the store is away, an unknown key may exist in it.
    fixture.store.close().await;
    assert!(keys.refresh(&fixture.store).await.is_err());
    assert_eq!(keys.find(&hash("alice"), LOCALHOST).unwrap_err().kind, ErrorKind::Overloaded);
    drop(background_tasks);
}

#[tokio::test]
async fn expiry_and_address_are_checked() {
    let fixture = Fixture::new().await;
    fixture.add_key("old", Limits { expires_at: Some(1), ..Limits::default() }).await;
    fixture.add_key("far", Limits { networks: Some(vec!["10.0.0.0/8".into()]), ..Limits::default() }).await;
    let (gateway, background_tasks) = fixture.open().await;
    let keys = &gateway.accounting().keys;
    assert_eq!(keys.find(&hash("old"), LOCALHOST).unwrap_err().kind, ErrorKind::Unauthorized);
    assert_eq!(keys.find(&hash("far"), LOCALHOST).unwrap_err().kind, ErrorKind::Forbidden);
    assert!(keys.find(&hash("far"), "::ffff:10.1.2.3".parse().unwrap()).unwrap().is_some());
    background_tasks.finish().await;
}

#[tokio::test]
async fn a_key_with_a_budget_cannot_use_a_model_without_a_price() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits { budget: Some(DOLLAR), ..Limits::default() }).await;
    let journal = fixture.folder.path().join("journal");
    let (accounting, background_tasks) =
        Accounting::open(fixture.store.clone(), &journal, Prices::default(), None).await.unwrap();
    let gateway = Gateway::new(Router::for_local_model(Arc::new(FakeProvider), "m", false), accounting);
    let error = send_chat(&gateway, &caller(&gateway, "alice"), "").await.err().unwrap();
    assert!(error.kind == ErrorKind::Forbidden && error.message.contains("`m` has no price"), "{error}");
    background_tasks.finish().await;
}

#[tokio::test]
async fn a_store_that_is_away_does_not_stop_requests_and_receives_their_records_later() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits::default()).await;
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    fixture.store.close().await;
    for _ in 0..3 {
        send_chat(&gateway, &alice, "").await.unwrap().count().await;
    }
    for task in &background_tasks.tasks {
        task.abort();
    }
    let store = Store::open(&format!("sqlite:{}", fixture.folder.path().join("db").display())).await.unwrap();
    let fixture = Fixture { store, ..fixture };
    // The journal is locked until everything that holds it is dropped.
    drop((gateway, alice));
    for task in background_tasks.tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let (_, background_tasks) = fixture.open().await;
    background_tasks.finish().await;
    assert_eq!(fixture.outcomes().await.len(), 3);
}

#[tokio::test]
async fn a_request_that_cannot_be_recorded_is_not_served() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits::default()).await;
    let (gateway, background_tasks) = fixture.open().await;
    let alice = caller(&gateway, "alice");
    // As on a full disk, the next file of the journal cannot be created.
    let journal = fixture.folder.path().join("journal");
    gateway.accounting().ledger.as_ref().unwrap().journal.rotate_at_next_line();
    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::write(&journal, "").unwrap();
    assert_eq!(send_chat(&gateway, &alice, "").await.err().unwrap().kind, ErrorKind::Overloaded);
    std::fs::remove_file(&journal).unwrap();
    std::fs::create_dir(&journal).unwrap();
    send_chat(&gateway, &alice, "").await.unwrap().count().await;
    background_tasks.finish().await;
    assert_eq!(fixture.outcomes().await.len(), 1);
}

#[tokio::test]
async fn a_record_that_the_store_refuses_does_not_block_others_now_and_at_the_next_start() {
    let fixture = Fixture::new().await;
    fixture.add_key("alice", Limits::default()).await;
    fixture.add_key("mallory", Limits::default()).await;
    let (gateway, background_tasks) = fixture.open().await;
    let journal = fixture.folder.path().join("journal");
    let ledger = gateway.accounting().ledger.as_ref().unwrap();
    let refused =
        |id: &str| UsageRecord { id: id.into(), cost: i64::MAX, outcome: "stop".into(), ..UsageRecord::default() };
    gateway.accounting().record_end(refused("refused-1"), None);
    let alice = caller(&gateway, "alice");
    for _ in 0..3 {
        send_chat(&gateway, &alice, "").await.unwrap().count().await;
    }
    // A line that an earlier version has left in its journal.
    ledger.journal.write_end(&refused("refused-2")).unwrap();
    background_tasks.finish().await;
    assert_eq!(fixture.outcomes().await.len(), 3);
    assert_eq!(crate::Quarantine::in_folder(&journal).records().unwrap().len(), 1);
    drop((gateway, alice));
    let (gateway, background_tasks) = fixture.open().await;
    send_chat(&gateway, &caller(&gateway, "alice"), "").await.unwrap().count().await;
    background_tasks.finish().await;
    assert_eq!(fixture.outcomes().await.len(), 4);
    let quarantined = crate::Quarantine::in_folder(&journal).records().unwrap();
    assert_eq!(
        quarantined.iter().map(|(record, _)| record.id.as_str()).collect::<Vec<_>>(),
        ["refused-1", "refused-2"]
    );
    assert!(crate::journal_records(&journal).unwrap().is_empty());
}
