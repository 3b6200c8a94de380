//! The state of the local model.

use chat::{EngineStatus, Error};
use serde_json::{Value, json};

use super::request::{AdminRequest, AdminResponse};

pub(super) async fn engine(request: AdminRequest) -> Result<AdminResponse, Error> {
    let status = request.app.gateway.engine_status();
    Ok(status.map_or(Value::Null, |status| status_json(&status)).into())
}

fn status_json(status: &EngineStatus) -> Value {
    let EngineStatus { throughput, cache, memory, .. } = status;
    json!({
        "model": status.model, "model_type": status.model_type, "attention": status.attention,
        "compute": status.compute, "kernels": status.kernels, "threads": status.threads,
        "context": status.context, "ready": status.ready,
        "running": status.running, "max_running": status.max_running,
        "waiting": status.waiting, "queue": status.queue,
        "prompt_tokens_per_second": throughput.prompt_tokens_per_second,
        "generated_tokens_per_second": throughput.generated_tokens_per_second,
        "prompt_tokens": throughput.prompt_tokens, "cached_prompt_tokens": throughput.cached_prompt_tokens,
        "cache": {
            "tokens": cache.tokens, "used_tokens": cache.used_tokens, "cached_tokens": cache.cached_tokens,
        },
        "memory": {
            "weights": memory.weights, "cache": memory.cache, "total": memory.total, "available": memory.available,
        },
    })
}
