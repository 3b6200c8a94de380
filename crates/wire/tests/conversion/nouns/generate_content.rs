//! The nouns of requests of Gemini's `generateContent`.

use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::Noun;
use crate::nouns::{Nouns, merged, schema};

pub(crate) fn nouns() -> Vec<Noun> {
    let user = json!({"role": "user", "parts": [{"text": "hi"}]});
    let mut nouns = Nouns::new(json!({"contents": [user]}));
    let said = |parts: Value| json!({"contents": [{"role": "user", "parts": parts}]});
    let config = |fields: Value| json!({"generationConfig": fields});
    let tools = json!({"tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": schema()}]}]});
    let called = |more: Value| {
        let call =
            merged(&json!({"functionCall": {"id": "signed_call", "name": "f", "args": {"city": "Rome"}}}), &more);
        json!({"role": "model", "parts": [call]})
    };
    let response = |more: Value| {
        let body = merged(&json!({"id": "signed_call", "name": "f", "response": {"result": "sunny"}}), &more);
        json!({"role": "user", "parts": [{"functionResponse": body}]})
    };

    nouns.add("`systemInstruction`", json!({"systemInstruction": {"parts": [{"text": "s"}]}}));
    nouns.add("several text parts", said(json!([{"text": "hi"}, {"text": "here"}])));
    for (name, part) in [
        ("`inlineData` of an image", json!({"inlineData": {"mimeType": "image/png", "data": "iVBOR"}})),
        ("`inlineData` of a PDF", json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}})),
        ("`inlineData` of audio", json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}})),
        (
            "`fileData` of an image",
            json!({"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}}),
        ),
        (
            "`fileData` of a PDF",
            json!({"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}}),
        ),
        ("`fileData` of audio", json!({"fileData": {"mimeType": "audio/mp3", "fileUri": "https://example.com/a.mp3"}})),
        ("`executableCode`", json!({"executableCode": {"language": "PYTHON", "code": "1"}})),
    ] {
        nouns.add(name, said(json!([{"text": "hi"}, part])));
    }
    nouns.add(
        "`functionCall` and `functionResponse`",
        json!({"contents": [user, called(json!({})), response(json!({}))]}),
    );
    let unknown = |more: Value| {
        let call = json!({"functionCall": {"id": "another_call", "name": "f", "args": {}}});
        json!({"contents": [user, {"role": "model", "parts": [merged(&call, &more)]}, response(json!({"id": "another_call"}))]})
    };
    nouns.add_beside(
        "`thoughtSignature` that another server has relayed",
        unknown(json!({})),
        unknown(json!({"thoughtSignature": "c2ln".repeat(40)})),
    );
    for (name, more) in [
        ("`willContinue` of a response", json!({"willContinue": true})),
        ("`scheduling` of a response", json!({"scheduling": "SILENT"})),
    ] {
        let answered = |more: Value| json!({"contents": [user, called(json!({})), response(more)]});
        nouns.add_beside(name, answered(json!({})), answered(more));
    }
    for (name, more) in [
        ("`videoMetadata` of a part", json!({"videoMetadata": {"fps": 2}})),
        ("`mediaResolution` of a part", json!({"mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}})),
    ] {
        let image = json!({"inlineData": {"mimeType": "image/png", "data": "iVBOR"}});
        nouns.add_beside(name, said(json!([image])), said(json!([merged(&image, &more)])));
    }
    nouns.add_beside(
        "image in a `functionResponse`",
        json!({"contents": [user, called(json!({})), response(json!({}))]}),
        json!({"contents": [user, called(json!({})), response(json!({"parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}]}))]}),
    );
    nouns.add_beside(
        "`thought` part of an earlier answer",
        json!({"contents": [user, {"role": "model", "parts": [{"text": "a"}]}, user], "generationConfig": {"thinkingConfig": {"includeThoughts": true}}}),
        json!({"contents": [user, {"role": "model", "parts": [{"text": "a signed thought", "thought": true}, {"text": "a"}]}, user]}),
    );
    nouns.add("beginning of the answer", json!({"contents": [user, {"role": "model", "parts": [{"text": "a"}]}]}));
    nouns.add("`functionDeclarations`", tools.clone());
    nouns.add(
        "`parameters` of a function, as an OpenAPI schema",
        json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": true}}}}]}]}),
    );
    for (name, more) in [
        ("`response` of a function", json!({"response": {"type": "STRING"}})),
        ("`behavior` of a function", json!({"behavior": "NON_BLOCKING"})),
    ] {
        let function = json!({"name": "f", "description": "d", "parametersJsonSchema": schema()});
        nouns.add_beside(name, tools.clone(), json!({"tools": [{"functionDeclarations": [merged(&function, &more)]}]}));
    }
    nouns.add("`toolConfig.retrievalConfig`", json!({"toolConfig": {"retrievalConfig": {"languageCode": "it"}}}));
    nouns.add("tools that Google runs", json!({"tools": [{"googleSearch": {}}, {"codeExecution": {}}]}));
    for (name, mode) in [
        ("`functionCallingConfig.mode: NONE`", json!({"mode": "NONE"})),
        ("`functionCallingConfig.mode: AUTO`", json!({"mode": "AUTO"})),
        ("`functionCallingConfig.mode: VALIDATED`", json!({"mode": "VALIDATED"})),
        ("`functionCallingConfig.mode: ANY`", json!({"mode": "ANY"})),
        ("`allowedFunctionNames`", json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
    ] {
        nouns.add_beside(name, tools.clone(), json!({"toolConfig": {"functionCallingConfig": mode}}));
    }
    nouns.add("`responseMimeType`", config(json!({"responseMimeType": "application/json"})));
    nouns.add(
        "`responseJsonSchema`",
        config(json!({"responseMimeType": "application/json", "responseJsonSchema": schema()})),
    );
    nouns.add(
        "`responseSchema`",
        config(json!({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}})),
    );
    let room = config(json!({"maxOutputTokens": 8000}));
    for (name, thinking) in [
        ("`thinkingConfig.thinkingBudget`", json!({"thinkingBudget": 1024})),
        ("`thinkingConfig.thinkingBudget: 0`", json!({"thinkingBudget": 0})),
        ("`thinkingConfig.thinkingLevel`", json!({"thinkingLevel": "LOW"})),
        ("`thinkingConfig.includeThoughts`", json!({"includeThoughts": true})),
    ] {
        nouns.add_beside(name, room.clone(), config(json!({"thinkingConfig": thinking})));
        if thinking["thinkingBudget"] == 0 {
            nouns.is_default_of(&[Dialect::Anthropic, Dialect::Bedrock]);
        }
    }
    for (name, fields) in [
        ("`maxOutputTokens`", json!({"maxOutputTokens": 50})),
        ("`temperature`", json!({"temperature": 0.5})),
        ("`topP`", json!({"topP": 0.5})),
        ("`topK`", json!({"topK": 20})),
        ("`frequencyPenalty`", json!({"frequencyPenalty": 0.5})),
        ("`presencePenalty`", json!({"presencePenalty": 0.5})),
        ("`seed`", json!({"seed": 7})),
        ("`stopSequences`", json!({"stopSequences": ["END"]})),
        ("`candidateCount`", json!({"candidateCount": 2})),
        ("`responseLogprobs`, `logprobs`", json!({"responseLogprobs": true, "logprobs": 2})),
        ("`responseModalities`", json!({"responseModalities": ["TEXT", "IMAGE"]})),
        ("`speechConfig`", json!({"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}})),
        ("`audioTimestamp`", json!({"audioTimestamp": true})),
        ("`mediaResolution`", json!({"mediaResolution": "MEDIA_RESOLUTION_LOW"})),
        ("`imageConfig`", json!({"imageConfig": {"aspectRatio": "16:9"}})),
    ] {
        nouns.add(name, config(fields));
    }
    nouns.add(
        "`safetySettings`",
        json!({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}),
    );
    nouns.add("`cachedContent`", json!({"cachedContent": "cachedContents/1"}));
    nouns.add("`modelArmorConfig`", json!({"modelArmorConfig": {"promptTemplateName": "t"}}));
    nouns.add("`labels`", json!({"labels": {"k": "v"}}));
    nouns.list
}
