//! Anthropic's marks of what is to be cached (`cache_control`), which chat completions have too.

use serde_json::Value;

/// The mark of the last block, part or tool of a list that has one.
pub(crate) fn last_cache_control(list: &Value) -> Option<Value> {
    let mut marks = list.as_array().into_iter().flatten().rev().filter_map(|block| block.get("cache_control"));
    marks.find(|mark| !mark.is_null()).cloned()
}
