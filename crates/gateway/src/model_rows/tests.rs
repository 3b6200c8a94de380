use serde_json::{Value, json};
use wire::model_rules::RequestOrigin;

use super::*;

/// The body that a provider of this name gets, and the notes.
fn forwarded(rows: &ModelRows, provider: &str, dialect: Dialect, model: &str, body: &Value) -> (Value, String) {
    let rules = rows.rules_for(provider, None, dialect, model, &ModelRow::default());
    let (body, notes) = rules.apply_to_body(dialect, RequestOrigin::Forwarded, body.to_string()).unwrap();
    (serde_json::from_slice(&body).unwrap(), notes.into_notes().join("; "))
}

fn sent(provider: &str, dialect: Dialect, model: &str, body: &Value) -> Value {
    forwarded(&ModelRows::default(), provider, dialect, model, body).0
}

#[test]
fn each_generation_of_claude_gets_its_own_shape_of_thinking() {
    let enabled = json!({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    let adaptive = json!({"max_tokens": 9000, "thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}});
    for (model, of_enabled, of_adaptive, effort) in [
        ("claude-3-haiku-20240307", None, None, None),
        ("claude-3-5-sonnet-20241022", None, None, None),
        ("claude-3-7-sonnet-20250219", Some("enabled"), Some("enabled"), None),
        ("claude-sonnet-4-20250514", Some("enabled"), Some("enabled"), None),
        ("claude-sonnet-4@20250514", Some("enabled"), Some("enabled"), None),
        ("claude-opus-4-1-20250805", Some("enabled"), Some("enabled"), None),
        ("claude-haiku-4-5", Some("enabled"), Some("enabled"), None),
        ("claude-opus-4-5-20251101", Some("enabled"), Some("enabled"), Some("high")),
        ("claude-sonnet-4-6", Some("enabled"), Some("adaptive"), Some("max")),
        ("claude-opus-4-7", Some("adaptive"), Some("adaptive"), Some("xhigh")),
        ("us.anthropic.claude-opus-4-8-v1:0", Some("adaptive"), Some("adaptive"), Some("xhigh")),
        ("claude-sonnet-5", Some("adaptive"), Some("adaptive"), Some("xhigh")),
        ("claude-opus-5-5", Some("adaptive"), Some("adaptive"), Some("xhigh")),
        ("claude-sonnet-5-5", Some("adaptive"), Some("adaptive"), Some("xhigh")),
        ("claude-fable-5", Some("adaptive"), Some("adaptive"), Some("xhigh")),
        ("claude-opus-6", Some("adaptive"), Some("adaptive"), Some("xhigh")),
    ] {
        let kind = |body: &Value| body["thinking"]["type"].as_str().map(str::to_owned);
        let got = sent("anthropic", Dialect::Anthropic, model, &enabled);
        assert_eq!(kind(&got).as_deref(), of_enabled, "{model}");
        let got = sent("anthropic", Dialect::Anthropic, model, &adaptive);
        assert_eq!((kind(&got).as_deref(), got["output_config"]["effort"].as_str()), (of_adaptive, effort), "{model}");
    }
}

#[test]
fn claude_gets_the_sampling_parameters_of_its_generation() {
    let both = json!({"temperature": 0.5, "top_p": 0.5, "top_k": 5});
    for (model, left) in [
        ("claude-3-7-sonnet-20250219", &["temperature", "top_p", "top_k"][..]),
        ("claude-sonnet-4-20250514", &["temperature", "top_p", "top_k"]),
        ("claude-opus-4-1", &["temperature", "top_k"]),
        ("claude-sonnet-4-5", &["temperature", "top_k"]),
        ("claude-opus-4-6", &["temperature", "top_k"]),
        ("claude-opus-4-7", &[]),
        ("claude-opus-5", &[]),
        ("claude-mythos-5", &[]),
    ] {
        let body = sent("any", Dialect::Anthropic, model, &both);
        assert_eq!(body.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), left, "{model}");
    }
    assert_eq!(sent("any", Dialect::Anthropic, "deepseek-v4", &both), both);
}

#[test]
fn a_forced_call_and_thinking_off_follow_the_model() {
    let forced = json!({"tool_choice": {"type": "any"}, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    let off = json!({"thinking": {"type": "disabled"}});
    for (model, choice, thinking, of_off) in [
        ("claude-sonnet-4-6", "any", json!(null), off["thinking"].clone()),
        ("claude-opus-4-8", "any", json!(null), json!(null)),
        ("claude-opus-5", "any", json!({"type": "disabled"}), off["thinking"].clone()),
        ("claude-opus-5-5", "auto", json!({"type": "adaptive", "display": "summarized"}), json!(null)),
        (
            "claude-sonnet-5-5",
            "auto",
            json!({"type": "adaptive", "display": "summarized"}),
            json!({"type": "between_tools"}),
        ),
    ] {
        let body = sent("any", Dialect::Anthropic, model, &forced);
        assert_eq!((&body["tool_choice"]["type"], &body["thinking"]), (&json!(choice), &thinking), "{model}");
        assert_eq!(sent("any", Dialect::Anthropic, model, &off)["thinking"], of_off, "{model}");
    }
}

/// The names of a Claude model at Anthropic and at Bedrock.
const CLAUDE_NAMES: [(&str, &str); 7] = [
    ("claude-3-haiku-20240307", "anthropic.claude-3-haiku-20240307-v1:0"),
    ("claude-3-7-sonnet-20250219", "us.anthropic.claude-3-7-sonnet-20250219-v1:0"),
    ("claude-opus-4-1-20250805", "us.anthropic.claude-opus-4-1-20250805-v1:0"),
    (
        "claude-sonnet-4-5-20250929",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    ("claude-sonnet-4-6", "global.anthropic.claude-sonnet-4-6"),
    ("claude-opus-4-8", "anthropic.claude-opus-4-8"),
    ("claude-sonnet-5-5", "apac.anthropic.claude-sonnet-5-5-v1"),
];

#[test]
fn claude_on_bedrock_gets_what_claude_at_anthropic_gets() {
    let ask = |thinking: &Value, forced: bool| {
        let plain = json!({"thinking": thinking, "temperature": 0.5, "top_p": 0.5, "top_k": 5, "max_tokens": 9000});
        let mut converse = json!({
            "inferenceConfig": {"maxTokens": 9000, "temperature": 0.5, "topP": 0.5},
            "additionalModelRequestFields": {"thinking": thinking, "top_k": 5},
        });
        let mut own = plain;
        if forced {
            own["tool_choice"] = json!({"type": "any"});
            converse["toolConfig"] = json!({"toolChoice": {"any": {}}});
        }
        (own, converse)
    };
    for (at_anthropic, at_bedrock) in CLAUDE_NAMES {
        for thinking in [json!(null), json!({"type": "enabled", "budget_tokens": 2000}), json!({"type": "disabled"})] {
            for forced in [false, true] {
                let (own, converse) = ask(&thinking, forced);
                let rows = ModelRows::default();
                let (own, own_notes) = forwarded(&rows, "p", Dialect::Anthropic, at_anthropic, &own);
                let (converse, notes) = forwarded(&rows, "p", Dialect::Bedrock, at_bedrock, &converse);
                let of = |body: &Value, name: &str| body.get(name).cloned().unwrap_or_default();
                let (inference, extra) =
                    (of(&converse, "inferenceConfig"), of(&converse, "additionalModelRequestFields"));
                for (name, found) in [
                    ("temperature", of(&inference, "temperature")),
                    ("top_p", of(&inference, "topP")),
                    ("max_tokens", of(&inference, "maxTokens")),
                    ("top_k", of(&extra, "top_k")),
                    ("thinking", of(&extra, "thinking")),
                    ("output_config", of(&extra, "output_config")),
                ] {
                    assert_eq!(found, of(&own, name), "{name} of {at_bedrock} with {thinking}, forced: {forced}");
                }
                let is_forced = |choice: Value| choice.get("any").is_some() || choice["type"] == "any";
                let choice = of(&of(&converse, "toolConfig"), "toolChoice");
                assert_eq!(is_forced(choice), is_forced(of(&own, "tool_choice")), "{at_bedrock} with {thinking}");
                assert_eq!(notes, own_notes, "{at_bedrock}");
            }
        }
    }
}

#[test]
fn other_models_of_bedrock_have_their_own_parameters() {
    let body = json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.5}, "toolConfig": {"toolChoice": {"any": {}}},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 5}});
    for (model, own, choice) in [
        ("amazon.nova-pro-v1:0", json!({"inferenceConfig": {"topK": 5}}), json!({"any": {}})),
        ("us.meta.llama3-3-70b-instruct-v1:0", json!(null), json!(null)),
        ("mistral.mistral-large-2407-v1:0", json!(null), json!({"any": {}})),
    ] {
        let sent = sent("p", Dialect::Bedrock, model, &body);
        assert_eq!(sent.get("additionalModelRequestFields").cloned().unwrap_or_default(), own, "{model}");
        assert_eq!(sent["toolConfig"].get("toolChoice").cloned().unwrap_or_default(), choice, "{model}");
        assert_eq!(sent["inferenceConfig"], body["inferenceConfig"], "{model}");
    }
}

#[test]
fn a_row_names_the_model_that_a_profile_hides() {
    let row = |text: &str| toml::from_str::<ModelRow>(text).unwrap();
    let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3";
    let rows = ModelRows::with_configured(&[
        row("match = '*/a1b2c3'\nlike = 'claude-opus-4-8'\nkeep = ['top_k']"),
        row("match = 'our-chat'\nlike = 'gpt-5.1'"),
    ])
    .unwrap();
    let body = json!({"inferenceConfig": {"temperature": 0.5}, "additionalModelRequestFields": {"top_k": 5}});
    let (sent, notes) = forwarded(&rows, "p", Dialect::Bedrock, profile, &body);
    assert_eq!(sent, json!({"inferenceConfig": {}, "additionalModelRequestFields": {"top_k": 5}}));
    assert_eq!(notes, "dropped: temperature");
    let (sent, _) = forwarded(&rows, "azure", Dialect::OpenAi, "our-chat", &json!({"max_tokens": 5}));
    assert_eq!(sent, json!({"max_completion_tokens": 5}));
}

#[test]
fn openai_models_get_the_parameters_of_their_series() {
    let ask = |model: &str, body: Value| sent("oa", Dialect::OpenAi, model, &body);
    let keys = |body: Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for (model, left) in [
        ("gpt-4o", "max_tokens temperature"),
        ("o3", "max_completion_tokens"),
        ("gpt-5-mini", "max_completion_tokens"),
        ("gpt-5-chat-latest", "temperature max_completion_tokens"),
        ("gpt-5.1", "temperature max_completion_tokens"),
        ("gpt-5.4", "temperature max_completion_tokens"),
        ("gpt-5.5", "max_completion_tokens"),
        ("gpt-5.6-terra", "max_completion_tokens"),
        ("some-other-model", "max_tokens temperature"),
    ] {
        assert_eq!(keys(ask(model, json!({"max_tokens": 5, "temperature": 0.5}))), left, "{model}");
    }
    for (model, minimal, none, max) in [
        ("gpt-4o", json!(null), json!(null), json!(null)),
        ("o4-mini", json!("low"), json!("low"), json!("high")),
        ("gpt-5", json!("minimal"), json!("minimal"), json!("high")),
        ("gpt-5.1", json!("low"), json!("none"), json!("high")),
        ("gpt-5.6", json!("low"), json!("none"), json!("xhigh")),
        ("gpt-5.2-chat-latest", json!("medium"), json!("medium"), json!("medium")),
    ] {
        let effort = |effort: &str| ask(model, json!({ "reasoning_effort": effort }))["reasoning_effort"].clone();
        assert_eq!((effort("minimal"), effort("none"), effort("max")), (minimal, none, max), "{model}");
    }
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (model, unnamed, named) in [
        ("gpt-5", json!(null), json!("low")),
        ("gpt-5.4", json!(null), json!(null)),
        ("gpt-5.6", json!("none"), json!("none")),
    ] {
        let effort = |body: Value| ask(model, body)["reasoning_effort"].clone();
        assert_eq!(effort(json!({ "tools": tools })), unnamed, "{model}");
        assert_eq!(effort(json!({"tools": tools, "reasoning_effort": "low"})), named, "{model}");
    }
    assert_eq!(sent("openai", Dialect::OpenAi, "gpt-4o", &json!({"top_k": 5, "thinking": {}})), json!({}));
    assert_eq!(ask("gpt-4o", json!({"top_k": 5})), json!({"top_k": 5}), "an engine of one's own may know it");
}

#[test]
fn gemini_models_get_budgets_or_levels() {
    let ask = |model: &str, config: Value| {
        let body = json!({"generationConfig": {"thinkingConfig": config}});
        sent("gemini", Dialect::Gemini, model, &body)["generationConfig"]["thinkingConfig"].clone()
    };
    for (model, of_zero, of_high) in [
        ("gemini-2.0-flash", json!(null), json!(null)),
        ("gemini-2.5-flash", json!({"thinkingBudget": 0}), json!({"thinkingBudget": 24576})),
        ("gemini-2.5-pro", json!({"thinkingBudget": 128}), json!({"thinkingBudget": 24576})),
        ("gemini-3-pro-preview", json!({"thinkingLevel": "low"}), json!({"thinkingLevel": "high"})),
        ("gemini-3.5-flash", json!({"thinkingLevel": "minimal"}), json!({"thinkingLevel": "high"})),
    ] {
        assert_eq!(ask(model, json!({"thinkingBudget": 0})), of_zero, "{model}");
        assert_eq!(ask(model, json!({"thinkingLevel": "high"})), of_high, "{model}");
    }
    assert_eq!(ask("gemini-2.5-flash-lite", json!({"thinkingBudget": 100})), json!({"thinkingBudget": 512}));
    assert_eq!(ask("gemini-3-pro-preview", json!({"thinkingLevel": "medium"})), json!({"thinkingLevel": "high"}));
}

#[test]
fn deepseek_and_others_get_their_names() {
    let body = json!({"messages": [{"role": "developer", "content": "x"}], "max_completion_tokens": 7, "seed": 1});
    let want = json!({"messages": [{"role": "system", "content": "x"}], "seed": 1, "max_tokens": 7});
    assert_eq!(sent("ds", Dialect::DeepSeek, "m", &body), want);
    assert_eq!(sent("oa", Dialect::OpenAi, "m", &body), body);
    let mistral = sent("mistral", Dialect::OpenAi, "mistral-large", &body);
    assert_eq!((&mistral["random_seed"], &mistral["max_tokens"], mistral.get("seed")), (&json!(1), &json!(7), None));
}

#[test]
fn rows_of_the_configuration_win() {
    let row = |text: &str| toml::from_str::<ModelRow>(text).unwrap();
    let rows = ModelRows::with_configured(&[
        row("match = 'claude-opus-4-8'\nkeep = ['temperature']\nset = { service_tier = 'auto' }"),
        row("match = ['house-*']\nprovider = 'mine'\nthinking = 'none'\ndrop = ['seed']"),
    ])
    .unwrap();
    let ask = |provider: &str, model: &str, body: Value| forwarded(&rows, provider, Dialect::Anthropic, model, &body).0;
    let body = json!({"temperature": 0.5, "top_p": 0.5});
    assert_eq!(ask("any", "claude-opus-4-8", body), json!({"temperature": 0.5, "service_tier": "auto"}));
    assert_eq!(ask("mine", "house-1", json!({"seed": 1})), json!({}));
    assert_eq!(ask("other", "house-1", json!({"seed": 1})), json!({"seed": 1}));
    let error = ModelRows::with_configured(&[row("match = 'a*'\ndrop = ['model']")]).unwrap_err().to_string();
    assert!(error.contains("`a*`") && error.contains("`model`"), "{error}");
    let error = ModelRows::parse("[[models]]\nmatch = 'a'\nthinkng = 'none'").unwrap_err().to_string();
    assert!(error.contains("thinkng") && error.contains("line 3"), "{error}");
}
