//! Anthropic's marks of what is to be cached (`cache_control`), which chat completions have too.

use serde_json::Value;

/// The mark of the last tool that has one, at the tool or, as LiteLLM has it, at its function.
pub(crate) fn cache_control_of_tools(tools: &Value) -> Option<Value> {
    let mark_of = |tool: &Value| {
        let marks =
            [tool.get("cache_control"), tool.get("function").and_then(|function| function.get("cache_control"))];
        marks.into_iter().flatten().find(|mark| !mark.is_null()).cloned()
    };
    tools.as_array().into_iter().flatten().rev().find_map(mark_of)
}

/// The mark of the last block, part or tool of a list that has one.
pub(crate) fn last_cache_control(list: &Value) -> Option<Value> {
    let mut marks = list.as_array().into_iter().flatten().rev().filter_map(|block| block.get("cache_control"));
    marks.find(|mark| !mark.is_null()).cloned()
}
