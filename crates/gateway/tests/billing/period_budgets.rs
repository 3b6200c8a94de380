//! Budgets with a period, over every way by which a request reaches a provider.

use std::time::Duration;

use chat::{Chat, ErrorKind};
use gateway::Overdraft;
use serde_json::{Value, json};
use store::{BudgetOwner, BudgetPeriod, BudgetScope, BudgetTerms, BudgetZone};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::fixture::GatewayFixture;
use crate::helpers::{DOLLAR, chat, fixture_with, media_provider};

fn terms(scope: BudgetScope, period: BudgetPeriod, dollars: i64) -> BudgetTerms {
    BudgetTerms { scope, period, zone: BudgetZone::default(), amount: Some(dollars * DOLLAR), warn_at: None }
}

impl GatewayFixture {
    async fn set_key_budgets(&self, budgets: &[BudgetTerms]) {
        let key = self.store.key("alice").await.unwrap();
        self.store.set_budgets(BudgetOwner::Key(&key), budgets).await.unwrap();
        self.gateway.accounting().refresh_keys().await.unwrap();
    }

    async fn send_picture(&self, end_user: Option<&str>) -> Result<(), chat::Error> {
        let mut body = json!({"model": "picture", "n": 1});
        body["user"] = end_user.map_or(Value::Null, Value::from);
        self.pass_through(ApiEndpoint::ImageGenerations, None, &body).await.map(drop)
    }
}

#[tokio::test]
async fn every_window_of_key_and_project_limits() {
    let fake = media_provider().await;
    let fixture = fixture_with(&fake, Dialect::DeepSeek, None, Some(9 * DOLLAR), Overdraft::LastRequest).await;
    let project = fixture.store.project("team").await.unwrap();
    let monthly = terms(BudgetScope::Owner, BudgetPeriod::Month, 5);
    fixture.store.set_budgets(BudgetOwner::Project(&project), &[monthly]).await.unwrap();
    fixture.set_key_budgets(&[terms(BudgetScope::Owner, BudgetPeriod::Total, 3)]).await;
    for _ in 0..3 {
        fixture.send_picture(None).await.unwrap();
    }
    let error = fixture.send_picture(None).await.unwrap_err();
    let message = "Insufficient Balance: the budget of the key `alice` does not cover this request";
    assert_eq!(
        (error.kind, error.message.as_str(), error.retry_after),
        (ErrorKind::InsufficientBalance, message, None)
    );
    fixture.set_key_budgets(&[terms(BudgetScope::Owner, BudgetPeriod::Total, 30)]).await;
    fixture.send_picture(None).await.unwrap();
    fixture.send_picture(None).await.unwrap();
    let error = fixture.send_picture(None).await.unwrap_err();
    assert!(error.message.contains("the monthly budget of the project `team`, $5, does not cover"), "{error:?}");
    assert!(error.retry_after.is_some_and(|wait| wait <= Duration::from_secs(31 * 86_400)), "{error:?}");
    assert_eq!(fixture.alice.api_key.as_ref().unwrap().remaining_budget(), Some(0));
    let store = fixture.store.clone();
    assert_eq!(fixture.records().await.iter().map(|record| record.cost).sum::<i64>(), 5 * DOLLAR);
    let states = store.budget_states().await.unwrap();
    assert!(states.values().flatten().all(|state| state.spent == Some(5 * DOLLAR)), "{states:?}");
}

#[tokio::test]
async fn end_users_are_told_apart_by_the_field_of_each_dialect() {
    let fake = media_provider().await;
    let fixture = fixture_with(&fake, Dialect::DeepSeek, None, None, Overdraft::LastRequest).await;
    fixture.set_key_budgets(&[terms(BudgetScope::EachEndUser, BudgetPeriod::Total, 2)]).await;
    fixture.send_picture(Some("bob")).await.unwrap();
    fixture.send_picture(Some("bob")).await.unwrap();
    let error = fixture.send_picture(Some("bob")).await.unwrap_err();
    assert!(error.message.contains("the budget of the end user `bob` of the key `alice`"), "{error:?}");
    // Chats and tasks of the same end user count in the same budget.
    let of = |user: &str| Chat { user: Some(user.into()), ..chat("dear", Some(1)) };
    assert_eq!(fixture.send_chat(of("bob")).await.unwrap_err().kind, ErrorKind::InsufficientBalance);
    let video = |user: &str| json!({"model": "film", "seconds": "4", "user": user});
    assert!(fixture.submit_video(video("bob"), None).await.is_err());
    fixture.submit_video(video("eve"), None).await.unwrap();
    // `user_id` goes before `user`, and Anthropic's field is in the metadata.
    let both = json!({"model": "picture", "user": "carol", "user_id": "bob"});
    assert!(fixture.pass_through(ApiEndpoint::ImageGenerations, None, &both).await.is_err());
    let in_metadata = json!({"model": "picture", "metadata": {"user_id": "bob"}});
    assert!(fixture.pass_through(ApiEndpoint::ImageGenerations, None, &in_metadata).await.is_err());
    // Requests without an end user share one, and a name of any length and content counts alone.
    fixture.send_picture(None).await.unwrap();
    fixture.send_picture(Some("")).await.unwrap();
    assert!(fixture.send_picture(None).await.is_err());
    let long = "x\u{0}".repeat(2000);
    fixture.send_picture(Some(&long)).await.unwrap();
    fixture.send_picture(Some(&long)).await.unwrap();
    assert!(fixture.send_picture(Some(&long)).await.is_err());
    let store = fixture.store.clone();
    fixture.records().await;
    let spent = store.end_user_spend(&store.key("alice").await.unwrap().id).await.unwrap();
    let spent: Vec<_> =
        spent.iter().map(|spend| (&spend.end_user[..spend.end_user.len().min(7)], spend.spent)).collect();
    assert_eq!(spent, [("", 2 * DOLLAR), ("bob", 2 * DOLLAR), ("sha256:", 2 * DOLLAR), ("eve", 1_400_000_000)]);
}

#[tokio::test]
async fn an_unpriced_model_needs_a_key_without_amounts() {
    let fake = media_provider().await;
    let fixture = fixture_with(&fake, Dialect::DeepSeek, None, None, Overdraft::LastRequest).await;
    fixture.gateway.accounting().prices.store(std::sync::Arc::default());
    let warns = BudgetTerms { amount: None, warn_at: Some(0), ..terms(BudgetScope::Owner, BudgetPeriod::Day, 0) };
    fixture.set_key_budgets(&[warns]).await;
    fixture.send_picture(None).await.unwrap();
    assert_eq!(fixture.alice.api_key.as_ref().unwrap().remaining_budget(), None);
}
