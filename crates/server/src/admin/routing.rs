//! Models and who answers them.

use chat::Error;
use gateway::Standing;
use serde_json::{Value, json};

use super::{Answer, Ask};

pub(super) async fn models(ask: Ask) -> Result<Answer, Error> {
    let models: Vec<_> = ask
        .app
        .gateway
        .table()
        .iter()
        .map(|routed| json!({"id": &*routed.id, "targets": routed.targets.iter().map(target).collect::<Vec<_>>()}))
        .collect();
    Ok(json!({"data": models}).into())
}

fn target(standing: &Standing) -> Value {
    let said = standing.occupancy.map(|said| json!({"running": said.running, "waiting": said.waiting}));
    json!({
        "provider": &*standing.provider, "model": &*standing.model, "price": standing.price.as_deref(),
        "priority": standing.rank.priority, "weight": standing.rank.weight, "works": standing.works, "running": standing.running, "engine": said,
    })
}
