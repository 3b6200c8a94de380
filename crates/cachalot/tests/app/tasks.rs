//! Asynchronous tasks of providers: owners, ids, charges and refunds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};

use crate::app::TestApp;
use crate::task_app::{TaskApp, fake_task_provider};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_an_owner_is_charged_once_and_refunded_when_it_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let service = fake_task_provider(fails.clone()).await;
    let server = TaskApp::start(&service).await;
    let TaskApp { app, alice, bob, .. } = &server;

    let (status, refused) = server.post(alice, "/mj/submit/imagine", json!({"prompt": "banned"})).await;
    assert_eq!((status, &refused["code"]), (200, &json!(24)));
    server.wait_for_balance(alice, "1.00").await;
    let (status, submitted) =
        server.post(alice, "/mj-fast/submit/imagine", json!({"prompt": "a whale", "odd": [1]})).await;
    let mj = submitted["result"].as_str().unwrap().to_owned();
    assert!(status == 200 && mj.len() == 19 && mj.bytes().all(|byte| byte.is_ascii_digit()), "{submitted}");
    assert_eq!(service.requests().last().unwrap().json(), json!({"prompt": "a whale", "odd": [1]}));
    server.wait_for_balance(alice, "0.92").await;
    for path in [format!("/mj/task/{mj}/fetch"), format!("/mj/image/{mj}")] {
        assert_eq!(server.get(bob, &path).await.1["error"]["code"], "task_not_found");
        assert_eq!(server.get(alice, &path).await.0, 200);
    }
    assert_eq!(server.get(alice, &format!("/mj/task/{mj}/fetch")).await.1["id"], mj.as_str());
    for id in ["nobody", "..%2f..%2fkeys", "a%20b"] {
        assert_eq!(server.get(alice, &format!("/mj/task/{id}/fetch")).await.0, 404);
    }
    let list = json!({"ids": [mj, "other"]});
    assert_eq!(server.post(alice, "/mj/task/list-by-condition", list.clone()).await.1.as_array().unwrap().len(), 1);
    assert_eq!(server.post(bob, "/mj/task/list-by-condition", list).await.1, json!([]));
    // Only the owner of an image can continue from it.
    let action = json!({"taskId": mj, "customId": "U1"});
    assert_eq!(server.post(bob, "/mj/submit/action", action.clone()).await.0, 404);
    assert_eq!(server.post(alice, "/mj/submit/action", action).await.0, 200);
    server.wait_for_balance(alice, "0.84").await;

    let submitted =
        server.post(alice, "/suno/submit/music", json!({"gpt_description_prompt": "x", "mv": "chirp-v4"})).await.1;
    let song = submitted["data"].as_str().unwrap().to_owned();
    assert_eq!(song.len(), 36, "{submitted}");
    server.wait_for_balance(alice, "0.82").await;
    // Its failure is received twice and refunded once.
    fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(server.get(alice, &format!("/suno/fetch/{song}")).await.1["data"]["status"], "FAILURE");
        assert_eq!(
            server.post(alice, "/suno/fetch", json!({"ids": [song], "action": "MUSIC"})).await.1["data"][0]["task_id"],
            song.as_str()
        );
    }
    server.wait_for_balance(alice, "0.84").await;

    let (status, video) =
        server.post(alice, "/v1/videos", json!({"model": "own/sora-2", "prompt": "a whale", "seconds": "8"})).await;
    let film = video["id"].as_str().unwrap().to_owned();
    assert!(status == 200 && film.starts_with("video_") && film.len() == 38, "{video}");
    assert_eq!(service.requests().last().unwrap().json()["model"], "sora-2");
    server.wait_for_balance(alice, "0.04").await;
    let poor = server.post(alice, &format!("/v1/videos/{film}/remix"), json!({"prompt": "more"})).await;
    assert_eq!(poor.0, 402, "the balance must cover a price that is known in advance");
    let content =
        server.request(alice, app.client.get(app.url(&format!("/v1/videos/{film}/content?variant=video")))).await;
    assert_eq!(content, (200, "video/mp4".into(), vec![0, 0, 0, 24]));
    assert_eq!(server.get(bob, &format!("/v1/videos/{film}")).await.0, 404);
    assert_eq!(server.post(bob, "/v1/videos", json!({"model": "deepseek-chat", "prompt": "x"})).await.0, 400);

    for (path, status) in [("/mj/submit/paint", 404), ("/suno/submit/noise", 404)] {
        assert_eq!(server.post(alice, path, json!({})).await.0, status);
    }
    let secret =
        app.client.get(app.url(&format!("/mj/task/{mj}/fetch"))).header("mj-api-secret", alice).send().await.unwrap();
    assert_eq!(secret.status(), 200);
    let usage = server.stop_and_report().await;
    assert!(usage.contains("suno_music"), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_their_providers_tasks_are_refused_as_documented() {
    let app = TestApp::start(&[]).await;
    let post = async |path: &str, body: Value| {
        let response = app.client.post(app.url(path)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, refused) = post("/mj/submit/imagine", json!({"prompt": "x"})).await;
    let want =
        json!({"code": 4, "description": "No Midjourney provider is configured", "result": null, "properties": {}});
    assert_eq!((status, refused), (200, want));
    let (status, refused) = post("/suno/submit/music", json!({"prompt": "x"})).await;
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("Model Not Exist")));
    let (status, refused) = post("/v1/videos", json!({"model": "sora-2", "prompt": "x"})).await;
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("Model Not Exist")));
    app.stop().await;
}

/// A provider that gives every task the same id.
async fn fake_with_colliding_ids() -> FakeUpstream {
    FakeUpstream::start(|request: &ReceivedRequest| {
        let path = request.path.as_str();
        match (request.method.as_str(), path) {
            ("POST", "/mj/submit/imagine" | "/mj/submit/action" | "/mj/submit/modal") => FakeResponse::json(
                200,
                json!({"code": 1, "description": "ok", "result": "task-0001", "properties": {}}),
            ),
            ("GET", "/mj/task/task-0001/fetch") => FakeResponse::json(
                200,
                json!({"id": "task-0001", "status": "SUCCESS", "imageUrl": "https://cdn.example/task-0001.png",
                    "buttons": [{"customId": "MJ::JOB::upsample::task-0001::1"}]}),
            ),
            ("POST", "/mj/task/list-by-condition") => {
                FakeResponse::json(200, json!([{"id": "task-0001", "status": "SUCCESS"}]))
            }
            ("POST", "/suno/submit/music") => {
                FakeResponse::json(200, json!({"code": "success", "message": "", "data": "song-1"}))
            }
            ("GET", "/suno/fetch/song-1") => {
                FakeResponse::json(200, json!({"code": "success", "data": {"task_id": "song-1", "status": "SUCCESS"}}))
            }
            ("POST", "/v1/videos") => FakeResponse::json(200, json!({"id": "video_1", "status": "queued"})),
            ("POST", "/v1/videos/video_1/remix") => FakeResponse::json(
                200,
                json!({"id": "video_1", "status": "queued", "remixed_from_video_id": "video_1"}),
            ),
            ("GET", "/v1/videos/video_1") => FakeResponse::json(200, json!({"id": "video_1", "status": "completed"})),
            (method, path) => FakeResponse::json(404, json!({"error": {"message": format!("no {method} {path}")}})),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_with_the_same_upstream_id_stay_with_their_owners() {
    let service = fake_with_colliding_ids().await;
    let server = TaskApp::start(&service).await;
    let TaskApp { alice, bob, .. } = &server;
    for (path, body, id, status_path) in [
        ("/mj/submit/imagine", json!({"prompt": "x"}), "result", "/mj/task/ID/fetch"),
        ("/suno/submit/music", json!({"prompt": "x"}), "data", "/suno/fetch/ID"),
        ("/v1/videos", json!({"model": "sora-2", "prompt": "x", "seconds": "1"}), "id", "/v1/videos/ID"),
    ] {
        let mut ids = Vec::new();
        for key in [alice, bob, alice] {
            let (status, submitted) = server.post(key, path, body.clone()).await;
            assert_eq!(status, 200, "{submitted}");
            ids.push(submitted[id].as_str().unwrap().to_owned());
        }
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        for (key, id, status) in [(alice, 0, 200), (bob, 1, 200), (alice, 2, 200), (bob, 0, 404), (alice, 1, 404)] {
            let (got, task) = server.get(key, &status_path.replace("ID", &ids[id])).await;
            assert_eq!(got, status, "{path} {task}");
            let text = task.to_string();
            assert!(status == 404 || text.contains(&ids[id]), "{text}");
            assert!(!text.contains("song-1") && !text.contains("video_1\""), "{text}");
        }
    }
    // Ids inside other values become the provider's ids in the request.
    let mj = server.post(alice, "/mj/submit/imagine", json!({"prompt": "x"})).await.1["result"].clone();
    let task = server.get(alice, &format!("/mj/task/{}/fetch", mj.as_str().unwrap())).await.1;
    let custom = task["buttons"][0]["customId"].clone();
    assert!(custom.as_str().unwrap().contains(mj.as_str().unwrap()), "{task}");
    assert_eq!(task["imageUrl"], "https://cdn.example/task-0001.png");
    server.post(alice, "/mj/submit/action", json!({"taskId": mj, "customId": custom, "odd": [1]})).await;
    let want = json!({"taskId": "task-0001", "customId": "MJ::JOB::upsample::task-0001::1", "odd": [1]});
    assert_eq!(service.requests().last().unwrap().json(), want);
    // An id may be a number, too.
    let number: u64 = mj.as_str().unwrap().parse().unwrap();
    assert_eq!(server.post(alice, "/mj/submit/modal", json!({"taskId": number})).await.0, 200);
    assert_eq!(service.requests().last().unwrap().json(), json!({"taskId": "task-0001"}));
    assert_eq!(server.post(bob, "/mj/submit/modal", json!({"taskId": number})).await.0, 404);
    let listed = server.post(alice, "/mj/task/list-by-condition", json!({"ids": [mj, "nobody"]})).await.1;
    assert_eq!(listed, json!([{"id": mj, "status": "SUCCESS"}]));
    assert_eq!(service.requests().last().unwrap().json()["ids"], json!(["task-0001"]));
    // Callbacks use the provider's own id, which only the owner can use.
    assert_eq!(server.get(alice, "/mj/task/task-0001/fetch").await.0, 200);
    assert_eq!(server.get(bob, "/suno/fetch/song-1").await.0, 200);
    let video = server.post(alice, "/v1/videos", json!({"model": "sora-2", "prompt": "x", "seconds": "1"})).await.1;
    let path = format!("/v1/videos/{}/remix", video["id"].as_str().unwrap());
    let remix = server.post(alice, &path, json!({"prompt": "more", "seconds": "1"})).await.1;
    assert!(remix["id"] != video["id"] && remix["id"].as_str().unwrap().len() == 38, "{remix}");
    server.stop_and_report().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_task_response_costs_nothing() {
    for (content_type, body) in [
        ("text/html", "<html>It works!</html>"),
        ("application/json", "<html>It works!</html>"),
        ("application/json", ""),
        ("application/json", "[]"),
        ("application/json", "{\"status\":\"ok\"}"),
        ("application/json", "{\"code\":1,\"result\":null}"),
        ("application/json", "{\"code\":\"success\",\"data\":\"../x\"}"),
    ] {
        let fake = FakeUpstream::start(move |_| FakeResponse {
            status: 200,
            headers: vec![("content-type".into(), content_type.into())],
            steps: if body.is_empty() { vec![] } else { vec![BodyStep::Send(body.as_bytes().to_vec())] },
        });
        let fake = fake.await;
        let server = TaskApp::start(&fake).await;
        for (path, request) in [
            ("/mj/submit/imagine", json!({"prompt": "x"})),
            ("/suno/submit/music", json!({"prompt": "x"})),
            ("/v1/videos", json!({"model": "sora-2", "prompt": "x", "seconds": "1"})),
        ] {
            // The response of another API is not valid here.
            let (status, answer) = server.post(&server.alice, path, request).await;
            assert!(status == 502 && !answer.to_string().contains("It works"), "{path} {body}: {status} {answer}");
        }
        server.wait_for_balance(&server.alice, "1.00").await;
        server.stop_and_report().await;
    }
}
