//! Models and their targets: the providers that serve them.

use chat::Error;
use gateway::TargetStatus;
use serde_json::{Value, json};
use store::Role;

use super::request::{AdminRequest, AdminResponse};

pub(super) async fn models(request: AdminRequest) -> Result<AdminResponse, Error> {
    let is_member = request.operator.role == Role::Member;
    let mut keys = request.app.gateway.accounting().keys.of_user(request.operator.user_id.as_deref());
    if request.operator.user_id.is_none() {
        // A key of a program sees itself.
        keys.retain(|key| request.operator.key_id.as_deref() == Some(key.id()));
    }
    let routes = request.app.gateway.route_table();
    // A member sees the models that one of its keys may use.
    let routes = routes.iter().filter(|routed| !is_member || keys.iter().any(|key| key.may_use(&routed.id)));
    let models: Vec<_> = routes
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
