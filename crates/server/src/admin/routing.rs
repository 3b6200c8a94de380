//! Models and who answers them.

use chat::Error;
use gateway::TargetStatus;
use serde_json::{Value, json};

use super::{Answer, Ask};

pub(super) async fn models(ask: Ask) -> Result<Answer, Error> {
    let models: Vec<_> = ask
        .app
        .gateway
        .route_table()
        .iter()
        .map(|routed| json!({"id": &*routed.id, "targets": routed.targets.iter().map(target).collect::<Vec<_>>()}))
        .collect();
    Ok(json!({"data": models}).into())
}

fn target(standing: &TargetStatus) -> Value {
    let said = standing.reported_load.map(|said| json!({"running": said.running, "waiting": said.waiting}));
    json!({
        "provider": &*standing.provider, "model": &*standing.upstream_model, "price": standing.price.as_deref(),
        "priority": standing.preference.priority, "weight": standing.preference.weight, "works": standing.healthy, "running": standing.active_requests, "engine": said,
    })
}
