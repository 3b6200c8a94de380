use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::passthrough::body_editor::BodyEditor;
use crate::passthrough::json_fields::JsonFields;
use crate::upstream::Dialect;

fn row(fields: Value) -> ModelRow {
    let mut fields = fields;
    fields["match"] = "*".into();
    let row: ModelRow = serde_json::from_value(fields).unwrap();
    row.validate().unwrap();
    row
}

fn apply(rules: &RequestRules, dialect: Dialect, origin: RequestOrigin<'_>, body: &Value) -> (Value, String) {
    let text = body.to_string();
    let fields = JsonFields::scan(text.as_bytes()).unwrap();
    let mut editor = BodyEditor::new(&fields);
    let notes = rules.apply(dialect, origin, &mut editor).into_notes().join("; ");
    let edited = editor.finish().map_or_else(|| body.clone(), |body| serde_json::from_slice(&body).unwrap());
    (edited, notes)
}

/// The changed body that a caller has written, and the notes.
fn forwarded(dialect: Dialect, fields: Value, body: Value) -> (Value, String) {
    apply(&RequestRules::combine([&row(fields)]), dialect, RequestOrigin::Forwarded, &body)
}

fn converted(fields: Value, thinking: Option<bool>, effort: Option<&str>, body: Value) -> (Value, String) {
    let origin = RequestOrigin::Converted { thinking, effort };
    apply(&RequestRules::combine([&row(fields)]), Dialect::Anthropic, origin, &body)
}

fn adaptive() -> Value {
    json!({"thinking": "adaptive", "thinking_off": "omit", "thinking_display": "summarized",
           "efforts": ["low", "medium", "high", "xhigh", "max"]})
}

#[test]
fn a_budget_becomes_adaptive_thinking_with_the_effort_of_the_chat() {
    let body = json!({"thinking": {"type": "enabled", "budget_tokens": 6400}});
    let (body, notes) = converted(adaptive(), None, Some("low"), body);
    let thinking = json!({"type": "adaptive", "display": "summarized"});
    assert_eq!((body, notes.as_str()), (json!({"thinking": thinking, "output_config": {"effort": "low"}}), ""));
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 9000}});
    assert_eq!(converted(adaptive(), Some(true), None, enabled).0, json!({ "thinking": thinking }));
    let off = converted(adaptive(), Some(false), Some("none"), json!({"max_tokens": 9}));
    assert_eq!(off, (json!({"max_tokens": 9}), String::new()));
    let format = json!({"output_config": {"format": {"type": "json_schema"}}});
    let (kept, _) = converted(adaptive(), None, Some("minimal"), format);
    assert_eq!(kept["output_config"], json!({"format": {"type": "json_schema"}, "effort": "low"}));
}

#[test]
fn a_callers_budget_becomes_the_effort_that_it_stands_for() {
    let ask = |budget: i64| json!({"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": 32000});
    for (budget, effort) in [(1024, "low"), (10_000, "medium"), (31_999, "high")] {
        let (body, notes) = forwarded(Dialect::Anthropic, adaptive(), ask(budget));
        assert_eq!((&body["thinking"]["type"], &body["output_config"]["effort"]), (&json!("adaptive"), &json!(effort)));
        assert!(notes.contains("budget_tokens") && notes.contains(effort), "{notes}");
    }
    let mut own = ask(1024);
    own["output_config"] = json!({"effort": "xhigh"});
    assert_eq!(forwarded(Dialect::Anthropic, adaptive(), own).0["output_config"], json!({"effort": "xhigh"}));
    let either = json!({"thinking": "adaptive-or-budget", "efforts": ["low", "max"]});
    assert_eq!(forwarded(Dialect::Anthropic, either.clone(), ask(1024)), (ask(1024), String::new()));
    assert_eq!(converted(either, Some(true), Some("low"), ask(1024)).0["thinking"], json!({"type": "adaptive"}));
}

#[test]
fn older_models_get_a_budget_and_no_effort() {
    let budget = json!({"thinking": "budget"});
    let body = json!({"max_tokens": 10000, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}});
    let (body, notes) = forwarded(Dialect::Anthropic, budget.clone(), body);
    let want = json!({"max_tokens": 10000, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    assert_eq!(body, want);
    assert_eq!(notes, "dropped: output_config.effort; changed: adaptive thinking to `budget_tokens` 2000");
    let short = json!({"max_tokens": 500, "thinking": {"type": "adaptive"}});
    assert_eq!(forwarded(Dialect::Anthropic, budget, short), (json!({"max_tokens": 500}), "dropped: thinking".into()));
    let none = json!({"thinking": "none"});
    let body = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low", "format": 1}});
    let (body, notes) = forwarded(Dialect::Anthropic, none, body);
    assert_eq!(
        (body, notes.as_str()),
        (json!({"output_config": {"format": 1}}), "dropped: thinking, output_config.effort")
    );
}

#[test]
fn thinking_is_turned_off_as_the_model_takes_it() {
    let off = |kind: &str| json!({"thinking": "adaptive", "thinking_off": kind, "efforts": ["low", "high", "max"]});
    let disabled = || json!({"thinking": {"type": "disabled"}});
    for (kind, want, note) in [
        ("omit", json!({}), ""),
        ("disabled", disabled(), ""),
        ("between_tools", json!({"thinking": {"type": "between_tools"}}), "between_tools"),
        ("never", json!({"output_config": {"effort": "low"}}), "always thinks"),
    ] {
        for (body, notes) in [
            forwarded(Dialect::Anthropic, off(kind), disabled()),
            converted(off(kind), Some(false), None, json!({})),
            converted(off(kind), None, Some("none"), json!({})),
        ] {
            assert_eq!(body, want, "{kind}");
            assert!(notes.contains(note) && notes.is_empty() == note.is_empty(), "{kind}: {notes}");
        }
    }
    let much = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}});
    assert_eq!(forwarded(Dialect::Anthropic, off("disabled"), much).0["output_config"]["effort"], "high");
}

#[test]
fn a_forced_call_excludes_thinking() {
    for (choice, is_forced) in [("any", true), ("tool", true), ("auto", false), ("none", false)] {
        let thinking = json!({"type": "enabled", "budget_tokens": 2000});
        let body = json!({"thinking": thinking, "tool_choice": {"type": choice, "name": "f"}});
        let (body, notes) = forwarded(Dialect::Anthropic, json!({"forced_tool": "without-thinking"}), body);
        assert_eq!((body.get("thinking").is_none(), notes.as_str() == "dropped: thinking"), (is_forced, is_forced));
    }
    let by_default = json!({"forced_tool": "without-thinking", "thinking_off": "disabled"});
    let forced = || json!({"tool_choice": {"type": "any", "disable_parallel_tool_use": true}});
    let (body, notes) = forwarded(Dialect::Anthropic, by_default, forced());
    assert_eq!((&body["thinking"], notes.as_str()), (&json!({"type": "disabled"}), "dropped: thinking"));
    let (body, notes) = forwarded(Dialect::Anthropic, json!({"forced_tool": "never"}), forced());
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert!(notes.contains("tool_choice"), "{notes}");
    let named = json!({"tool_choice": {"type": "function", "function": {"name": "f"}}});
    assert_eq!(forwarded(Dialect::OpenAi, json!({"forced_tool": "never"}), named).0["tool_choice"], "auto");
    let any = json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}});
    let (body, _) = forwarded(Dialect::Gemini, json!({"forced_tool": "never"}), any);
    assert_eq!(body["toolConfig"]["functionCallingConfig"], json!({"mode": "AUTO"}));
}

#[test]
fn parameters_are_dropped_renamed_and_set() {
    let fields = json!({"drop": ["temperature", "generationConfig.topK", "logprobs"], "rename": {"max_tokens": "max_completion_tokens"},
                        "default": {"top_p": 0.5, "seed": 1}, "set": {"service_tier": "flex", "provider.sort": "price"}});
    let body = json!({"temperature": 0.2, "max_tokens": 7, "seed": 9, "generationConfig": {"topK": 3, "topP": 1}, "service_tier": "auto"});
    let (body, notes) = forwarded(Dialect::OpenAi, fields.clone(), body);
    let want = json!({"seed": 9, "generationConfig": {"topP": 1}, "service_tier": "flex", "max_completion_tokens": 7, "top_p": 0.5,
                      "provider": {"sort": "price"}});
    assert_eq!(body, want);
    assert_eq!(notes, "dropped: temperature, generationConfig.topK; changed: `max_tokens` to `max_completion_tokens`");
    let both = json!({"max_tokens": 7, "max_completion_tokens": 8, "temperature": 1, "logprobs": false});
    let (body, notes) = forwarded(Dialect::OpenAi, fields, both);
    assert_eq!(
        (&body["max_completion_tokens"], body.get("max_tokens"), body.get("temperature")),
        (&json!(8), None, None)
    );
    assert_eq!(notes, "dropped: max_tokens", "nothing is lost with a default value");
}

#[test]
fn one_of_two_is_sent() {
    let fields = json!({"exclusive": [["temperature", "top_p"]]});
    let ask = |body: Value| forwarded(Dialect::Anthropic, fields.clone(), body);
    assert_eq!(ask(json!({"top_p": 0.9, "temperature": 0.2})), (json!({"temperature": 0.2}), "dropped: top_p".into()));
    assert_eq!(ask(json!({"top_p": 0.9})), (json!({"top_p": 0.9}), String::new()));
    assert_eq!(ask(json!({"top_p": 0.9, "temperature": null})).0["top_p"], 0.9);
}

#[test]
fn sampling_parameters_depend_on_reasoning() {
    let fields = json!({"drop_with_thinking": ["temperature"], "default_effort": "none"});
    let ask = |fields: &Value, effort: Value| {
        let body = json!({"temperature": 0.2, "reasoning_effort": effort});
        forwarded(Dialect::OpenAi, fields.clone(), body).0.get("temperature").is_some()
    };
    assert_eq!([json!("none"), json!(null), json!("low")].map(|effort| ask(&fields, effort)), [true, true, false]);
    let thinks = json!({"drop_with_thinking": ["temperature"], "default_effort": "medium"});
    assert_eq!([json!("none"), json!(null), json!("low")].map(|effort| ask(&thinks, effort)), [true, false, false]);
    let claude = json!({"drop_with_thinking": ["temperature"]});
    let body = json!({"temperature": 0.2, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    assert_eq!(forwarded(Dialect::Anthropic, claude, body).1, "dropped: temperature");
}

#[test]
fn reasoning_is_off_where_tools_exclude_it() {
    let ask = |endpoint: &str, effort: Option<&str>, tools: Value| {
        let fields = json!({"tools_with_reasoning": endpoint, "default_effort": "medium", "drop_with_thinking": ["temperature"]});
        let mut body = json!({"tools": tools, "temperature": 0.5});
        if let Some(effort) = effort {
            body["reasoning_effort"] = effort.into();
        }
        forwarded(Dialect::OpenAi, fields, body)
    };
    for effort in [None, Some("high")] {
        let (body, notes) = ask("responses", effort, json!([{"type": "function"}]));
        assert_eq!((&body["reasoning_effort"], &body["temperature"]), (&json!("none"), &json!(0.5)));
        assert!(notes.contains("/responses"), "{notes}");
    }
    assert_eq!(ask("responses", None, json!([])).0.get("reasoning_effort"), None);
    assert_eq!(ask("any", Some("low"), json!([1])).0["reasoning_effort"], "low");
    let (body, notes) = ask("responses-if-named", Some("low"), json!([1]));
    assert_eq!((body.get("reasoning_effort"), notes.as_str()), (None, "dropped: reasoning_effort, temperature"));
}

#[test]
fn an_effort_becomes_one_that_the_model_has() {
    let fields = json!({"efforts": ["low", "high"]});
    let ask = |effort: &str| forwarded(Dialect::OpenAi, fields.clone(), json!({ "reasoning_effort": effort }));
    assert_eq!(ask("high"), (json!({"reasoning_effort": "high"}), String::new()));
    assert_eq!(ask("xhigh"), (json!({"reasoning_effort": "high"}), "changed: `reasoning_effort` xhigh to high".into()));
    let none = json!({"thinking": "none"});
    let (body, notes) = forwarded(Dialect::OpenAi, none, json!({"reasoning_effort": "low"}));
    assert_eq!((body, notes.as_str()), (json!({}), "dropped: reasoning_effort"));
}

#[test]
fn responses_name_the_effort_in_their_own_way() {
    let fields = json!({"efforts": ["none", "low"], "default_effort": "none", "drop_with_thinking": ["temperature"],
        "tools_with_reasoning": "responses"});
    let ask = |fields: &Value, body: Value| forwarded(Dialect::Responses, fields.clone(), body);
    let body = json!({"reasoning": {"effort": "high", "summary": "auto"}, "tools": [{"type": "function"}], "temperature": 0.5});
    let (body, notes) = ask(&fields, body);
    let want = json!({"reasoning": {"effort": "low", "summary": "auto"}, "tools": [{"type": "function"}]});
    assert_eq!((body, notes.as_str()), (want, "dropped: temperature; changed: `reasoning.effort` high to low"));
    let cool = json!({"temperature": 0.5});
    assert_eq!(ask(&fields, cool.clone()), (cool, String::new()));
    let plain = ask(&json!({"thinking": "none"}), json!({"reasoning": {"summary": "auto"}}));
    assert_eq!(plain, (json!({}), "dropped: reasoning".into()));
}

#[test]
fn a_response_has_its_effort_inside_an_object() {
    let fields =
        json!({"drop_with_thinking": ["temperature"], "default_effort": "none", "forced_tool": "without-thinking"});
    let ask = |body: Value| forwarded(Dialect::Responses, fields.clone(), body);
    let (body, notes) = ask(json!({"reasoning": {"effort": "low", "summary": "auto"}, "temperature": 0.5}));
    assert_eq!((body.get("temperature"), notes.as_str()), (None, "dropped: temperature"));
    let plain = json!({"input": "hi", "temperature": 0.5});
    assert_eq!(ask(plain.clone()).0, plain);
    let forced = json!({"reasoning": {"effort": "low"}, "tool_choice": "required"});
    assert_eq!(ask(forced).0["reasoning"]["effort"], "none");
}

#[test]
fn gemini_gets_levels_or_budgets() {
    let level = json!({"thinking": "level", "thinking_off": "never", "efforts": ["low", "high"]});
    let budget = json!({"thinking": "budget", "thinking_off": "never", "thinking_budget": [128, 1000]});
    let none = json!({"thinking": "none"});
    let thoughts = json!({"includeThoughts": true});
    for (fields, config, want) in [
        (&level, json!({"thinkingBudget": 0}), json!({"thinkingLevel": "low"})),
        (
            &level,
            json!({"thinking_budget": 9000, "includeThoughts": true}),
            json!({"includeThoughts": true, "thinkingLevel": "high"}),
        ),
        (&level, json!({"thinkingBudget": -1, "includeThoughts": true}), thoughts.clone()),
        (&level, json!({"thinkingLevel": "HIGH"}), json!({"thinkingLevel": "HIGH"})),
        (&level, json!({"thinkingLevel": "minimal"}), json!({"thinkingLevel": "low"})),
        (&level, thoughts.clone(), thoughts.clone()),
        (&budget, json!({"thinkingBudget": 0}), json!({"thinkingBudget": 128})),
        (&budget, json!({"thinkingBudget": 500}), json!({"thinkingBudget": 500})),
        (&budget, json!({"thinkingBudget": -1}), json!({"thinkingBudget": -1})),
        (&budget, json!({"thinkingLevel": "high"}), json!({"thinkingBudget": 1000})),
        (&none, json!({"thinkingBudget": 500}), json!(null)),
    ] {
        let body = json!({"generationConfig": {"topK": 1, "thinkingConfig": config}});
        let (body, notes) = forwarded(Dialect::Gemini, fields.clone(), body);
        assert_eq!(body["generationConfig"].get("thinkingConfig").unwrap_or(&Value::Null), &want, "{config}");
        assert_eq!(
            (body["generationConfig"]["topK"].clone(), notes.is_empty()),
            (json!(1), want == config || config["thinkingBudget"] == -1),
            "{notes}"
        );
    }
}

#[test]
fn the_role_developer_becomes_system() {
    let user = json!({"role": "user", "content": "\"developer\""});
    let body = json!({"messages": [{"role": "developer", "content": "Be brief"}, user]});
    let (body, notes) = forwarded(Dialect::DeepSeek, json!({"developer_role": false}), body);
    assert_eq!(body, json!({"messages": [{"role": "system", "content": "Be brief"}, user]}));
    assert_eq!(notes, "changed: the role `developer` to `system`");
    let plain = json!({"messages": [user]});
    assert_eq!(forwarded(Dialect::DeepSeek, json!({"developer_role": false}), plain.clone()), (plain, String::new()));
}

#[test]
fn blank_text_is_left_out() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let call = json!({"type": "tool_use", "id": "1", "name": "f", "input": {}});
    let body = json!({"system": [text(" "), text("Be brief")], "messages": [
        {"role": "user", "content": " \n"}, {"role": "assistant", "content": [text("\n\t"), call]},
        {"role": "user", "content": [text("")]}, {"role": "user", "content": "hi "}]});
    let (body, notes) = forwarded(Dialect::Anthropic, json!({"blank_text": false}), body);
    let want = json!({"system": [text("Be brief")], "messages": [
        {"role": "user", "content": [text(".")]}, {"role": "assistant", "content": [call]},
        {"role": "user", "content": [text(".")]}, {"role": "user", "content": "hi "}]});
    assert_eq!((body, notes.as_str()), (want, "dropped: text of white space only"));
    let (body, _) =
        forwarded(Dialect::Anthropic, json!({"blank_text": false}), json!({"system": "  ", "messages": []}));
    assert_eq!(body, json!({"messages": []}));
}

#[test]
fn parameters_of_converse_have_their_own_places() {
    let converse = |fields: Value, body: Value| forwarded(Dialect::Bedrock, fields, body);
    let body =
        json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.5}, "additionalModelRequestFields": {"top_k": 5}});
    let (edited, notes) = converse(json!({"exclusive": [["temperature", "top_p"]], "drop": ["top_k"]}), body.clone());
    assert_eq!((edited, notes.as_str()), (json!({"inferenceConfig": {"temperature": 0.5}}), "dropped: top_p, top_k"));
    let fields = json!({"drop": ["inferenceConfig.topP"], "rename": {"top_k": "additionalModelRequestFields.a.topK"},
        "set": {"additionalModelRequestFields.b": 1, "temperature": 0.1}, "default": {"c": 2}});
    let own = json!({"a": {"topK": 5}, "c": 2, "b": 1});
    let want = json!({"inferenceConfig": {"temperature": 0.1}, "additionalModelRequestFields": own});
    assert_eq!(converse(fields, body).0, want);
    let forced = json!({"toolConfig": {"tools": [], "toolChoice": {"any": {}}},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}});
    let (edited, notes) = converse(json!({"forced_tool": "without-thinking"}), forced.clone());
    assert_eq!((edited, notes.as_str()), (json!({"toolConfig": forced["toolConfig"]}), "dropped: thinking"));
    let (edited, notes) = converse(json!({"forced_tool": "never"}), forced);
    assert_eq!(edited["toolConfig"], json!({"tools": []}));
    assert!(notes.contains("`tool_choice` to auto"), "{notes}");
    let blank = json!({"system": [{"text": " "}], "messages": [
        {"role": "user", "content": [{"text": "\n"}]},
        {"role": "user", "content": [{"text": " "}, {"image": {"format": "png"}}]}]});
    let want = json!({"messages": [
        {"role": "user", "content": [{"text": "."}]},
        {"role": "user", "content": [{"image": {"format": "png"}}]}]});
    assert_eq!(converse(json!({"blank_text": false}), blank).0, want);
}

#[test]
fn surplus_stop_sequences_are_left_out() {
    for (dialect, body, want, note) in [
        (Dialect::OpenAi, json!({"stop": ["a", "b", "c"]}), json!({"stop": ["a", "b"]}), "dropped: stop"),
        (Dialect::DeepSeek, json!({"stop": "abc"}), json!({"stop": "abc"}), ""),
        (Dialect::Anthropic, json!({"stop_sequences": ["a", "b"]}), json!({"stop_sequences": ["a", "b"]}), ""),
        (
            Dialect::Bedrock,
            json!({"inferenceConfig": {"stopSequences": ["a", "b", "c"]}}),
            json!({"inferenceConfig": {"stopSequences": ["a", "b"]}}),
            "dropped: stop_sequences",
        ),
        (
            Dialect::Gemini,
            json!({"generationConfig": {"stopSequences": ["a", "b", "c"]}}),
            json!({"generationConfig": {"stopSequences": ["a", "b"]}}),
            "dropped: generationConfig.stopSequences",
        ),
        (Dialect::Responses, json!({"stop": ["a", "b", "c"]}), json!({"stop": ["a", "b", "c"]}), ""),
    ] {
        let (edited, notes) = forwarded(dialect, json!({"max_stop_sequences": 2}), body);
        assert_eq!((edited, notes.as_str()), (want, note), "{dialect:?}");
    }
}

#[test]
fn nova_is_asked_to_reason_with_an_effort() {
    let rules = RequestRules::combine([&row(
        json!({"thinking": "reasoning-config", "efforts": ["low", "medium"], "default_effort": "medium"}),
    )]);
    let sent = |thinking, effort, body: Value| {
        apply(&rules, Dialect::Bedrock, RequestOrigin::Converted { thinking, effort }, &body)
    };
    let reasons = |effort: &str| {
        let config = json!({"type": "enabled", "maxReasoningEffort": effort});
        json!({"additionalModelRequestFields": {"reasoningConfig": config}})
    };
    let budget = json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}});
    assert_eq!(sent(Some(true), Some("low"), budget.clone()), (reasons("low"), String::new()));
    // Without signed thinking there is none in the body.
    assert_eq!(sent(None, Some("low"), json!({})), (reasons("low"), String::new()));
    assert_eq!(sent(Some(true), None, budget.clone()), (reasons("medium"), String::new()));
    let (body, note) = sent(None, Some("high"), budget);
    assert_eq!((body, note.as_str()), (reasons("medium"), "changed: `reasoning_effort` high to medium"));
    for (thinking, effort) in [(Some(false), Some("low")), (None, None), (None, Some("none"))] {
        assert_eq!(sent(thinking, effort, json!({})), (json!({}), String::new()));
    }
    let (_, mut notes) = rules
        .apply_to_body(Dialect::Bedrock, RequestOrigin::Converted { thinking: Some(true), effort: None }, "{}".into())
        .unwrap();
    notes.add_dropped(&["seed", "thinking"]);
    assert_eq!(notes.into_notes(), ["dropped: seed"]);
}

#[test]
fn a_later_row_wins_field_by_field() {
    let first = row(
        json!({"drop": ["a", "b"], "rename": {"c": "d"}, "efforts": ["low"], "set": {"x": 1, "y": 1}, "developer_role": false}),
    );
    let later = row(json!({"keep": ["a", "c"], "drop": ["e"], "efforts": ["high"], "set": {"x": 2}}));
    let rules = RequestRules::combine([&first, &later]);
    let body = json!({"a": 1, "b": 1, "c": 1, "e": 1, "reasoning_effort": "low"});
    let (body, notes) = apply(&rules, Dialect::OpenAi, RequestOrigin::Forwarded, &body);
    assert_eq!(body, json!({"a": 1, "c": 1, "reasoning_effort": "high", "x": 2, "y": 1}));
    assert_eq!(notes, "dropped: b, e; changed: `reasoning_effort` low to high");
    let swapped = RequestRules::combine([&row(json!({"rename": {"c": "d"}})), &row(json!({"rename": {"d": "c"}}))]);
    assert_eq!(apply(&swapped, Dialect::OpenAi, RequestOrigin::Forwarded, &json!({"c": 1})).0, json!({"c": 1}));
    assert!(RequestRules::default().is_empty() && !rules.is_empty());
}

#[test]
fn a_row_that_cannot_be_used_is_refused_by_name() {
    for (fields, word) in [
        (json!({}), "`match` is missing"),
        (json!({"match": "a["}), "`a[`"),
        (json!({"match": "a", "dropp": []}), "unknown field `dropp`"),
        (json!({"match": "a", "dialect": "klingon"}), "`klingon`"),
        (json!({"match": 5}), "a string or a list of strings"),
        (json!({"match": "a", "drop": ["model"]}), "`model`"),
        (json!({"match": "a", "set": {"messages": []}}), "`messages`"),
        (json!({"match": "a", "set": {"max_tokens": 5}}), "budgets"),
        (json!({"match": "a", "drop": ["generationConfig.maxOutputTokens"]}), "budgets"),
        (json!({"match": "a", "rename": {"user": "max_tokens"}}), "`rename`"),
        (json!({"match": "a", "drop": ["a..b"]}), "\"a..b\""),
        (json!({"match": "a", "drop": ["inferenceConfig.maxTokens"]}), "budgets"),
        (json!({"match": "a", "like": ""}), "`like`"),
        (json!({"match": "a", "efforts": ["lots"]}), "`lots`"),
        (json!({"match": "a", "efforts": []}), "`efforts`"),
        (json!({"match": "a", "tool_name_length": 3}), "`tool_name_length`"),
        (json!({"match": "a", "thinking_budget": [9, 1]}), "`thinking_budget`"),
        (json!({"match": "a", "max_stop_sequences": 0}), "`max_stop_sequences`"),
        (json!({"match": "a", "thinking": "hard"}), "hard"),
    ] {
        let error = match serde_json::from_value::<ModelRow>(fields.clone()) {
            Ok(row) => row.validate().expect_err(&fields.to_string()),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(word), "{fields}: {error}");
    }
}

proptest! {
    /// No body makes the rules panic, and what they do not name stays.
    #[test]
    fn other_fields_stay_as_they_are(
        thinking in prop::sample::select(vec!["none", "budget", "adaptive", "level"]),
        off in prop::sample::select(vec!["omit", "disabled", "between_tools", "never"]),
        dialect in prop::sample::select(vec![Dialect::OpenAi, Dialect::DeepSeek, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock]),
        odd in prop::sample::select(vec!["null", "7", "\"x\"", "[]", "{}", "[{}]", "{\"type\":\"enabled\"}", "{\"type\":5}"]),
        name in prop::sample::select(vec!["thinking", "messages", "system", "output_config", "generationConfig", "tool_choice",
            "tools", "reasoning_effort", "toolConfig", "max_tokens", "inferenceConfig", "additionalModelRequestFields"]),
    ) {
        let fields = json!({"thinking": thinking, "thinking_off": off, "efforts": ["low"], "blank_text": false, "developer_role": false,
            "forced_tool": "without-thinking", "exclusive": [["temperature", "top_p"]], "tools_with_reasoning": "responses"});
        let body = format!(r#"{{"other":[1, 2],"{name}":{odd}}}"#);
        let rules = RequestRules::combine([&row(fields)]);
        let (edited, _) = rules.apply_to_body(dialect, RequestOrigin::Forwarded, body).unwrap();
        let edited: Value = serde_json::from_slice(&edited).unwrap();
        prop_assert_eq!(&edited["other"], &json!([1, 2]));
    }
}
