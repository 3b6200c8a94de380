//! Batches: charged at most once, at most what they can cost, and refunded what they did not use.

use std::sync::Arc;

use chat::ErrorKind;
use futures_util::StreamExt;
use gateway::{BatchPage, Caller, FileList, Overdraft};
use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::batch_provider::{BatchProvider, line, output, upload};
use crate::fixture::GatewayFixture;
use crate::helpers::{DOLLAR, fixture_of, fixture_with};

const CHAT: &str = "/v1/chat/completions";

fn body(model: &str, max_tokens: Option<u64>) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    if let Some(max_tokens) = max_tokens {
        body["max_tokens"] = json!(max_tokens);
    }
    body
}

async fn fixture(provider: &BatchProvider, budget: i64) -> GatewayFixture {
    fixture_of(&provider.fake, Dialect::OpenAi, budget, Overdraft::LastRequest).await
}

/// The most that two requests to `m` can cost: a nano-dollar for each byte, two for each token.
fn worst_case(max_tokens: u64) -> i64 {
    (2 * body("m", Some(max_tokens)).to_string().len() as u64 + 2 * 2 * max_tokens) as i64
}

fn two_lines(model: &str, max_tokens: Option<u64>) -> [String; 2] {
    [1, 2].map(|number| line(number, &body(model, max_tokens)))
}

#[tokio::test]
async fn a_batch_pays_what_it_can_cost_and_gets_back_what_it_did_not_use() {
    let provider = BatchProvider::start().await;
    let fixture = fixture(&provider, DOLLAR).await;
    let remaining = || fixture.alice.api_key.as_ref().unwrap().remaining_budget().unwrap();
    let file = fixture.upload_lines(&two_lines("p/m", Some(100))).await.unwrap();
    let sent = String::from_utf8(provider.fake.requests()[0].body.clone()).unwrap();
    assert!(sent.contains(&two_lines("m", Some(100)).concat()) && !sent.contains("p/m"), "{sent}");
    let batch = fixture.create_batch(&fixture.alice, &file, CHAT).await.unwrap();
    let id = batch["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("batch_") && id.len() == 38 && file.starts_with("file-") && file.len() == 37, "{batch}");
    assert_eq!((&batch["input_file_id"], &batch["status"]), (&json!(file), &json!("validating")));
    let sent = provider.fake.requests().last().unwrap().json();
    assert_eq!((&sent["input_file_id"], &sent["metadata"]["a"]), (&json!("file-input"), &json!(file)));
    // The names of models in the file were two letters longer.
    let paid = worst_case(100) + 4;
    assert_eq!(remaining(), DOLLAR - paid);
    assert_eq!(fixture.batch(&id).await.unwrap()["status"], "in_progress");
    assert_eq!(remaining(), DOLLAR - paid, "it has not ended");
    let usage = json!({"input_tokens": 30, "output_tokens": 20, "total_tokens": 50});
    let counts = json!({"total": 2, "completed": 2, "failed": 0});
    provider.set_batch(
        json!({"status": "completed", "output_file_id": "file-output", "request_counts": counts, "usage": usage}),
    );
    let ended = fixture.batch(&id).await.unwrap();
    let output = ended["output_file_id"].as_str().unwrap().to_owned();
    assert!(output.starts_with("file-") && output != file && ended["input_file_id"] == file.as_str(), "{ended}");
    assert_eq!(fixture.batch(&id).await.unwrap()["output_file_id"], output.as_str());
    assert_eq!(fixture.gateway.files(&fixture.alice, list()).await.unwrap()["data"][0]["filename"], "out.jsonl");
    let records = fixture.records().await;
    assert_eq!(records.len(), 2, "the end is recorded once");
    assert_eq!(records.iter().map(|record| record.cost).sum::<i64>(), 30 + 2 * 20);
    assert_eq!(records.iter().map(|record| record.prompt_tokens).sum::<i64>(), 30);
    let refund = records.iter().find(|record| record.outcome == "refunded").unwrap();
    assert_eq!((refund.cost, &*refund.price, refund.estimated), (70 - paid, "p/m@d", false));
}

#[tokio::test]
async fn the_answers_of_the_output_are_counted_where_the_batch_has_no_usage() {
    let usage = |prompt: u64, completion: u64| json!({"prompt_tokens": prompt, "completion_tokens": completion});
    let status =
        |counts: Value| json!({"status": "completed", "output_file_id": "file-output", "request_counts": counts});
    let counted = status(json!({"total": 2, "completed": 2}));
    // Half of what was paid counts for an answer without usage.
    for (output_lines, batch, cost, estimated) in [
        (vec![output(usage(7, 3)), output(usage(8, 4))], counted.clone(), 15 + 2 * 7, false),
        (vec![output(usage(7, 3)), output(Value::Null)], counted.clone(), 7 + 2 * 3, false),
        (vec![output(usage(7, 3)), output(json!({}))], counted.clone(), 7 + 2 * 3 + worst_case(100) / 2, true),
        // More than it can be.
        (vec![output(usage(7, 1_000_000))], counted.clone(), worst_case(100), true),
        (vec![output(usage(7, 3))], status(Value::Null), 7 + 2 * 3, false),
    ] {
        let provider = BatchProvider::start().await;
        let fixture = fixture(&provider, DOLLAR).await;
        let id = fixture.submit_lines(&two_lines("m", Some(100))).await.unwrap();
        provider.set_output(&output_lines);
        provider.set_batch(batch);
        fixture.batch(&id).await.unwrap();
        let records = fixture.records().await;
        assert_eq!(records.iter().map(|record| record.cost).sum::<i64>(), cost, "{output_lines:?}");
        assert_eq!(records.iter().any(|record| record.estimated), estimated && records.len() > 1, "{output_lines:?}");
    }
}

#[tokio::test]
async fn a_batch_that_did_not_complete_costs_what_was_answered() {
    for (status, completed, cost) in [("failed", 0, 0), ("cancelled", 1, 7 + 2 * 3), ("expired", 1, 7 + 2 * 3)] {
        let provider = BatchProvider::start().await;
        let fixture = fixture(&provider, DOLLAR).await;
        let id = fixture.submit_lines(&two_lines("m", Some(100))).await.unwrap();
        provider.set_batch(json!({"status": "cancelling"}));
        assert_eq!(fixture.cancel_batch(&id).await.unwrap()["id"], id.as_str());
        provider.set_output(&[output(json!({"prompt_tokens": 7, "completion_tokens": 3}))]);
        let file = if completed > 0 { json!("file-output") } else { Value::Null };
        provider.set_batch(
            json!({"status": status, "output_file_id": file, "request_counts": {"total": 2, "completed": completed}}),
        );
        for _ in 0..2 {
            fixture.batch(&id).await.unwrap();
        }
        assert!(provider.paths("POST").contains(&"/v1/batches/batch_theirs/cancel".to_owned()));
        let records = fixture.records().await;
        assert_eq!((records.len(), records.iter().map(|record| record.cost).sum::<i64>()), (2, cost), "{status}");
    }
}

#[tokio::test]
async fn the_price_of_a_batch_may_be_a_part() {
    let provider = BatchProvider::start().await;
    let fixture = fixture(&provider, DOLLAR).await;
    let remaining = || fixture.alice.api_key.as_ref().unwrap().remaining_budget().unwrap();
    let id = fixture.submit_lines(&two_lines("half", Some(100))).await.unwrap();
    // The name is three letters longer than `m`.
    assert_eq!(remaining(), DOLLAR - (worst_case(100) + 6) / 2);
    let usage = json!({"input_tokens": 31, "output_tokens": 20});
    provider.set_batch(json!({"status": "completed", "request_counts": {"completed": 2}, "usage": usage}));
    fixture.batch(&id).await.unwrap();
    let cost: i64 = fixture.records().await.iter().map(|record| record.cost).sum();
    assert_eq!(cost, 36, "half of 71, rounded up");
}

#[tokio::test]
async fn a_budget_must_cover_what_a_batch_can_cost() {
    let provider = BatchProvider::start().await;
    for overdraft in [Overdraft::LastRequest, Overdraft::AtMost(DOLLAR)] {
        for (budget, is_enough) in [(worst_case(100) - 1, false), (worst_case(100), true)] {
            let fixture = fixture_of(&provider.fake, Dialect::OpenAi, budget, overdraft).await;
            let submitted = fixture.submit_lines(&two_lines("m", Some(100))).await;
            assert_eq!(submitted.is_ok(), is_enough, "{budget} {submitted:?}");
            if let Err(error) = submitted {
                assert_eq!(error.kind, ErrorKind::InsufficientBalance);
                assert!(error.message.contains("2 requests of the batch can cost up to $0.000000"), "{error}");
            }
        }
    }
    let fixture = fixture(&provider, 300_000).await;
    let before = provider.paths("POST").len();
    let error = fixture.submit_lines(&two_lines("m", None)).await.unwrap_err();
    assert!(error.message.contains("not all of them have `max_tokens`"), "{error}");
    assert_eq!(provider.paths("POST").len(), before + 1, "no batch was submitted");
    // The longest answer of this model is known.
    fixture.submit_lines(&two_lines("limited", None)).await.unwrap();
    assert_eq!(fixture.records().await.iter().map(|record| record.cost).filter(|cost| *cost > 0).count(), 1);
}

fn list() -> FileList {
    FileList { purpose: None, after: None, is_ascending: false, limit: 10 }
}

#[tokio::test]
async fn what_a_key_may_not_do_is_refused_before_the_provider_is_asked() {
    let provider = BatchProvider::start().await;
    let fixture = fixture(&provider, DOLLAR).await;
    let file = fixture.upload_lines(&two_lines("m", Some(5))).await.unwrap();
    let unpriced = fixture.upload_lines(&two_lines("unpriced", Some(5))).await.unwrap();
    let other = fixture.gateway.create_file(&fixture.alice, upload("vision", "bytes", None)).await.unwrap();
    let other: Value = serde_json::from_slice(&other.reply.bytes).unwrap();
    let bob = Caller { key_name: Some("bob".into()), ..Caller::default() };
    let models = Caller { allowed_models: Some(Arc::new(["small".to_owned()])), ..fixture.alice.clone() };
    let before = provider.fake.requests().len();
    for (caller, file, endpoint, kind, words) in [
        (&bob, file.as_str(), CHAT, ErrorKind::NotFound, "No such File object"),
        (&fixture.alice, "file-input", CHAT, ErrorKind::NotFound, "No such File object"),
        (&fixture.alice, &file, "/v1/embeddings", ErrorKind::InvalidRequest, "are to `/v1/chat/completions`"),
        (&models, &file, CHAT, ErrorKind::Forbidden, "line 1 of the file"),
        (&fixture.alice, &unpriced, CHAT, ErrorKind::Forbidden, "has no price"),
        (&fixture.alice, other["id"].as_str().unwrap(), CHAT, ErrorKind::InvalidRequest, "purpose `batch`"),
    ] {
        let error = fixture.create_batch(caller, file, endpoint).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{words}: {error}");
    }
    for (lines, words) in [
        (two_lines("nobody", None).to_vec(), "line 1: Model Not Exist"),
        (vec![line(1, &body("m", None)), line(2, &body("small", None))], "line 2: it names the model `small`"),
        (vec!["{}\n".to_owned()], "line 1: it has no field `custom_id`"),
    ] {
        let error = fixture.upload_lines(&lines).await.unwrap_err();
        assert!(error.message.contains(words), "{words}: {error}");
    }
    assert_eq!(provider.fake.requests().len(), before);
    let batch = fixture.submit_lines(&two_lines("m", Some(5))).await.unwrap();
    for id in [batch.as_str(), "batch_theirs"] {
        assert_eq!(fixture.gateway.batch(&bob, id).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(fixture.gateway.cancel_batch(&bob, id).await.unwrap_err().kind, ErrorKind::NotFound);
    }
    let page = BatchPage { after: None, limit: 1 };
    assert_eq!(fixture.gateway.batches(&bob, page.clone()).await.unwrap()["data"], json!([]));
    let second = fixture.submit_lines(&two_lines("m", Some(5))).await.unwrap();
    let newest = fixture.gateway.batches(&fixture.alice, page).await.unwrap();
    assert_eq!((&newest["first_id"], &newest["has_more"]), (&json!(second), &json!(true)));
    let rest = BatchPage { after: Some(second), limit: 5 };
    let rest = fixture.gateway.batches(&fixture.alice, rest).await.unwrap();
    assert_eq!(
        (&rest["last_id"], &rest["has_more"], rest["data"].as_array().unwrap().len()),
        (&json!(batch), &json!(false), 1)
    );
}

#[tokio::test]
async fn files_belong_to_the_key_that_uploaded_them() {
    let provider = BatchProvider::start().await;
    let fixture = fixture_with(&provider.fake, Dialect::OpenAi, None, None, Overdraft::LastRequest).await;
    let bob = Caller { key_name: Some("bob".into()), ..Caller::default() };
    let file = fixture.upload_lines(&two_lines("m", Some(5))).await.unwrap();
    assert_eq!(fixture.file(&file).await.unwrap()["id"], file.as_str());
    let files = fixture.gateway.files(&fixture.alice, list()).await.unwrap();
    assert_eq!((&files["data"][0]["id"], &files["data"][0]["filename"]), (&json!(file), &json!("in.jsonl")));
    assert_eq!(fixture.gateway.files(&bob, list()).await.unwrap()["data"], json!([]));
    let missing = FileList { after: Some("file-0".into()), ..list() };
    assert_eq!(fixture.gateway.files(&fixture.alice, missing).await.unwrap_err().kind, ErrorKind::NotFound);
    for error in [
        fixture.gateway.file(&bob, &file).await.err(),
        fixture.gateway.file_content(&bob, &file).await.err(),
        fixture.gateway.delete_file(&bob, &file).await.err(),
        fixture.file("../batches").await.err(),
    ] {
        assert_eq!(error.unwrap().kind, ErrorKind::NotFound);
    }
    // The provider calls the file of another owner by the same name.
    let same = fixture.gateway.create_file(&bob, upload("batch", &two_lines("m", None).concat(), None)).await.unwrap();
    let same: Value = serde_json::from_slice(&same.reply.bytes).unwrap();
    assert_eq!(fixture.gateway.delete_file(&fixture.alice, &file).await.unwrap()["deleted"], true);
    assert!(provider.paths("DELETE").is_empty() && fixture.file(&file).await.is_err(), "another owner has it");
    let deleted = fixture.gateway.delete_file(&bob, same["id"].as_str().unwrap()).await.unwrap();
    assert_eq!((&deleted["id"], provider.paths("DELETE")), (&same["id"], vec!["/v1/files/file-input".to_owned()]));
}

#[tokio::test]
async fn an_output_file_is_downloaded_as_it_is() {
    let provider = BatchProvider::start().await;
    let fixture = fixture(&provider, DOLLAR).await;
    let id = fixture.submit_lines(&two_lines("m", Some(100))).await.unwrap();
    let lines = [output(json!({"prompt_tokens": 7, "completion_tokens": 3})), output(Value::Null)];
    provider.set_output(&lines);
    provider.set_batch(json!({"status": "completed", "output_file_id": "file-output"}));
    let batch = fixture.batch(&id).await.unwrap();
    let file = batch["output_file_id"].as_str().unwrap();
    let content = fixture.gateway.file_content(&fixture.alice, file).await.unwrap();
    assert_eq!(content.content_type, "application/octet-stream", "never a page of this server");
    let bytes: Vec<u8> = content.body.map(|bytes| bytes.unwrap()).collect::<Vec<_>>().await.concat();
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{}\n{}\n", lines[0], lines[1]));
}

#[tokio::test]
async fn the_provider_of_a_file_must_be_clear() {
    let provider = BatchProvider::start().await;
    for (dialects, named, is_clear) in [
        (vec![Dialect::OpenAi], None, true),
        (vec![Dialect::OpenAi, Dialect::DeepSeek], None, true),
        (vec![Dialect::OpenAi, Dialect::OpenAi], None, false),
        (vec![Dialect::OpenAi, Dialect::OpenAi], Some("p1"), true),
        (vec![Dialect::OpenAi, Dialect::OpenAi], Some("p2"), false),
        (vec![Dialect::DeepSeek], None, true),
        (vec![Dialect::Anthropic], None, false),
    ] {
        let mut router = gateway::Router::default();
        for (number, dialect) in dialects.iter().enumerate() {
            let upstream = crate::upstream::upstream(&format!("p{number}"), provider.fake.base_url(), *dialect);
            router.add_upstream(&upstream, &["m".into()], gateway::RoutingPreference::default());
        }
        let fixture = GatewayFixture::start(router, "", None, None).await;
        let lines = two_lines("m", None).concat();
        for (purpose, content) in [("batch", lines.as_str()), ("vision", "bytes")] {
            let created = fixture.gateway.create_file(&fixture.alice, upload(purpose, content, named)).await;
            assert_eq!(created.is_ok(), is_clear, "{dialects:?} {named:?} {purpose}: {created:?}");
            if dialects.len() == 2 && named.is_none() && !is_clear {
                assert!(created.unwrap_err().message.contains("`x-gateway-provider`"));
            }
        }
    }
}
