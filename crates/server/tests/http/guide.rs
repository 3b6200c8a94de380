//! The tables of the API guide: they say what the code does.

use std::collections::{BTreeMap, BTreeSet};

use chat::{Error, ErrorKind};
use serde_json::{Value, json};
use server::ServerConfig;

use crate::app::{TestApp, TestAppBuilder, chat_request};

/// The rows of the table below a heading of a topic: the first cell, and the rest.
fn table(topic: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let asset = console::find(&format!("guide/{topic}.md")).expect("a topic of the guide");
    let text = String::from_utf8(asset.bytes.to_vec()).unwrap();
    let section = text.split_once(heading).unwrap_or_else(|| panic!("{topic}: `{heading}`")).1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.skip(2).map(cells).map(|mut cells| (cells.remove(0), cells)).collect()
}

#[test]
fn the_statuses_of_the_guide_are_those_of_the_errors() {
    use ErrorKind::*;
    let kinds = [
        InvalidRequest,
        NotFound,
        MethodNotAllowed,
        Conflict,
        Unauthorized,
        Forbidden,
        InsufficientBalance,
        TooLarge,
        UnsupportedMediaType,
        HeadersTooLarge,
        RateLimited,
        Overloaded,
        // A provider that refuses a request, and one that fails.
        Upstream(422),
        Upstream(500),
        Timeout,
        Internal,
    ];
    for kind in kinds {
        // A new kind needs a row in the guide, and an entry above.
        match kind {
            InvalidRequest | NotFound | MethodNotAllowed | Conflict | Unauthorized | Forbidden
            | InsufficientBalance | TooLarge | UnsupportedMediaType | HeadersTooLarge | RateLimited | Overloaded
            | Upstream(_) | Timeout | Internal => {}
        }
    }
    // Only the admin API knows conflicts.
    let kinds = kinds.iter().filter(|kind| **kind != Conflict);
    let statuses: BTreeSet<u16> = kinds.map(|kind| wire::surface::error::http_status(&Error::new(*kind, ""))).collect();
    let rows = table("errors", "# Errors");
    let listed: BTreeSet<u16> = rows.keys().map(|status| status.parse().unwrap()).collect();
    assert_eq!(listed, statuses);
    for (status, cells) in rows {
        let again = if status == "429" || status.starts_with('5') { "yes" } else { "no" };
        assert_eq!(cells.last().map(String::as_str), Some(again), "{status}");
    }
}

/// The number in a row of the table of limits; `unit` follows it.
fn limit(rows: &BTreeMap<String, Vec<String>>, name: &str, unit: &str) -> usize {
    let cell = &rows.get(name).unwrap_or_else(|| panic!("a row `{name}`"))[0];
    let digits = cell.strip_suffix(unit).unwrap_or_else(|| panic!("{name}: {cell}")).trim().replace(',', "");
    digits.parse().unwrap_or_else(|error| panic!("{name}: {cell}: {error}"))
}

#[tokio::test]
async fn the_limits_of_the_guide_are_those_of_the_server() {
    let rows = table("limits", "## Of a request");
    let config = ServerConfig::default();
    let mut checked = 3;
    assert_eq!(limit(&rows, "JSON body", "MiB") << 20, config.body_limit);
    assert_eq!(limit(&rows, "form (images, audio)", "MiB") << 20, config.multipart_limit);
    assert_eq!(limit(&rows, "headers", "KiB") << 10, config.header_limit);
    let app = TestAppBuilder::deepseek_profile().start().await;
    let status = async |app: &TestApp, body: Value| app.post(chat_request(body)).send().await.status;
    let message = json!({"role": "user", "content": "hi"});
    let tool = |number: usize| json!({"type": "function", "function": {"name": format!("f{number}"), "parameters": {"type": "object", "properties": {}}}});
    let deep = |depth: usize| {
        let mut value = json!("x");
        for _ in 0..depth {
            value = json!([value]);
        }
        value
    };
    let cases: [(&str, &dyn Fn(usize) -> Value); 5] = [
        ("messages", &|n| json!({"messages": vec![message.clone(); n]})),
        ("tools", &|n| json!({"tools": (0..n).map(tool).collect::<Vec<_>>()})),
        ("stop sequences", &|n| json!({"stop": (0..n).map(|number| format!("s{number}")).collect::<Vec<_>>()})),
        ("top log-probabilities", &|n| json!({"logprobs": true, "top_logprobs": n})),
        // The body itself is the outermost object.
        ("depth of JSON", &|n| json!({"metadata": deep(n - 1)})),
    ];
    for (name, body) in cases {
        let most = limit(&rows, name, "");
        assert_eq!(status(&app, body(most)).await, 200, "{most} {name}");
        assert_eq!(status(&app, body(most + 1)).await, 400, "{} {name}", most + 1);
        checked += 1;
    }
    assert_eq!(checked, rows.len(), "a row without a check: {rows:?}");
}
