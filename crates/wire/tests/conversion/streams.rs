//! Streams with citations: what a whole answer has of them, events have, too.

use chat::{Delta, Reply, fold};
use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::surface::{SURFACES, Surface};

/// The events of a stream with the text "See Rome. Go!", of which "Rome" cites a page.
fn events(dialect: Dialect) -> Vec<Value> {
    let page = json!({"url": "https://rome.example", "title": "Rome", "start_index": 4, "end_index": 8});
    let texts = ["See ", "Rome", ". Go!"];
    match dialect {
        Dialect::OpenAi | Dialect::DeepSeek => {
            let chunk = |delta: Value| json!({"choices": [{"index": 0, "delta": delta}]});
            let mut events = texts.map(|text| chunk(json!({ "content": text }))).to_vec();
            events.push(chunk(json!({"annotations": [{"type": "url_citation", "url_citation": page}]})));
            events.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
            events
        }
        Dialect::Responses => {
            let mut annotation = page;
            annotation["type"] = "url_citation".into();
            let delta = |text| json!({"type": "response.output_text.delta", "output_index": 0, "delta": text});
            let part = json!({"type": "output_text", "text": texts.concat(), "annotations": [annotation]});
            let item = json!({"type": "message", "role": "assistant", "content": [part]});
            let added = json!({"type": "message", "role": "assistant", "content": []});
            let mut events = vec![json!({"type": "response.output_item.added", "output_index": 0, "item": added})];
            events.extend(texts.map(delta));
            events.extend([
                json!({"type": "response.output_text.annotation.added", "output_index": 0, "annotation": annotation}),
                json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
                json!({"type": "response.completed", "response": {"status": "completed", "output": [item]}}),
            ]);
            events
        }
        Dialect::Anthropic => {
            let citation = json!({"type": "web_search_result_location", "url": "https://rome.example", "title": "Rome",
                "cited_text": "", "encrypted_index": "x"});
            let block = |text: &str, citations: &[Value]| {
                let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
                let mut events = vec![
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                ];
                events.extend(
                    citations.iter().map(|citation| delta(json!({"type": "citations_delta", "citation": citation}))),
                );
                events.push(delta(json!({"type": "text_delta", "text": text})));
                events.push(json!({"type": "content_block_stop", "index": 0}));
                events
            };
            let mut events = vec![json!({"type": "message_start", "message": {"content": []}})];
            events.extend([block(texts[0], &[]), block(texts[1], &[citation]), block(texts[2], &[])].concat());
            events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}));
            events.push(json!({"type": "message_stop"}));
            events
        }
        Dialect::Gemini => {
            let event = |text: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}}]});
            let mut events = texts.map(event).to_vec();
            let grounding = json!({"groundingChunks": [{"web": {"uri": "https://rome.example", "title": "Rome"}}],
                "groundingSupports": [{"segment": {"startIndex": 4, "endIndex": 8}, "groundingChunkIndices": [0]}]});
            events.push(json!({"candidates": [{"finishReason": "STOP", "groundingMetadata": grounding}]}));
            events
        }
        Dialect::Bedrock => {
            let delta =
                |index: u64, delta: Value| json!({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}});
            let stop = |index: u64| json!({"contentBlockStop": {"contentBlockIndex": index}});
            let citation = json!({"title": "Rome", "location": {"web": {"url": "https://rome.example"}}});
            vec![
                json!({"messageStart": {"role": "assistant"}}),
                delta(0, json!({"text": texts[0]})),
                stop(0),
                delta(1, json!({"text": texts[1]})),
                delta(1, json!({ "citation": citation })),
                stop(1),
                delta(2, json!({"text": texts[2]})),
                stop(2),
                json!({"messageStop": {"stopReason": "end_turn"}}),
            ]
        }
        Dialect::Midjourney | Dialect::Suno => vec![],
    }
}

fn deltas(dialect: Dialect) -> Vec<Delta> {
    let (mut reader, mut deltas) = (dialect.event_reader(&chat::Chat::default()), Vec::new());
    for event in events(dialect) {
        reader.read_event(&event.to_string(), &mut deltas).unwrap();
    }
    reader.finish(&mut deltas).unwrap();
    deltas
}

/// The objects of a stream of events.
fn data(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// The citation that a caller finds in a stream: the text that has it, and the page.
fn found(surface: Surface, stream: &str) -> (String, Value) {
    let events = data(stream);
    let whole = "See Rome. Go!";
    let range = |citation: &Value| {
        let at = |name: &str| citation[name].as_u64().unwrap() as usize;
        whole[at("start_index")..at("end_index")].to_owned()
    };
    let find = |pointer: &str| events.iter().find_map(|event| event.pointer(pointer)).unwrap().clone();
    match surface {
        Surface::ChatCompletions => {
            let citation = find("/choices/0/delta/annotations/0/url_citation");
            (range(&citation), citation["url"].clone())
        }
        Surface::Responses => {
            let citation = find("/annotation");
            assert_eq!(find("/response/output/0/content/0/annotations/0"), citation);
            (range(&citation), citation["url"].clone())
        }
        Surface::Messages => {
            let at = events.iter().position(|event| event["delta"]["type"] == "citations_delta").unwrap();
            let text = events[..at].iter().rev().take_while(|event| event["type"] == "content_block_delta");
            let mut pieces: Vec<&str> = text.map(|event| event["delta"]["text"].as_str().unwrap()).collect();
            pieces.reverse();
            (pieces.concat(), events[at]["delta"]["citation"]["url"].clone())
        }
        Surface::GenerateContent => {
            let grounding = find("/candidates/0/groundingMetadata");
            let text = grounding["groundingSupports"][0]["segment"]["text"].as_str().unwrap().to_owned();
            (text, grounding["groundingChunks"][0]["web"]["uri"].clone())
        }
    }
}

#[test]
fn citations_of_a_stream_are_carried_between_all_apis() {
    for dialect in crate::dialect::DIALECTS {
        let deltas = deltas(dialect);
        let reply: Reply = fold(deltas.iter().cloned().map(Ok)).unwrap();
        assert_eq!(reply.text, "See Rome. Go!", "{dialect:?}");
        let [citation] = &reply.citations[..] else { panic!("{dialect:?}: {:?}", reply.citations) };
        assert_eq!((citation.start, citation.end, citation.title.as_str()), (4, 8, "Rome"), "{dialect:?}");
        for surface in SURFACES {
            let (mut renderer, mut stream) = (surface.renderer(), String::new());
            deltas.iter().for_each(|delta| renderer.push(delta, &mut stream));
            renderer.finish(&mut stream);
            let (text, url) = found(surface, &stream);
            assert_eq!(url, "https://rome.example", "{dialect:?} to {}", surface.name());
            // A citation of Anthropic's belongs to the text of its block so far.
            let is_range = text == "Rome" || (surface == Surface::Messages && text.contains("Rome"));
            assert!(is_range, "{dialect:?} to {}: {text:?}", surface.name());
        }
    }
}
