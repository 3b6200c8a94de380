//! Models and their targets: the providers that serve them.

use chat::Error;
use gateway::TargetStatus;
use serde_json::{Value, json};

use super::request::{AdminRequest, AdminResponse};

pub(super) async fn models(request: AdminRequest) -> Result<AdminResponse, Error> {
    let models: Vec<_> = request
        .app
        .gateway
        .route_table()
        .iter()
        .map(|routed| json!({"id": &*routed.id, "targets": routed.targets.iter().map(target_json).collect::<Vec<_>>()}))
        .collect();
    Ok(json!({"data": models}).into())
}

fn target_json(status: &TargetStatus) -> Value {
    let engine_load = status.reported_load.map(|load| json!({"running": load.running, "waiting": load.waiting}));
    json!({
        "provider": &*status.provider, "model": &*status.upstream_model, "price": status.price.as_deref(),
        "priority": status.preference.priority, "weight": status.preference.weight, "works": status.healthy, "running": status.active_requests, "engine": engine_load,
    })
}
