//! The OpenAPI description of the admin API: its routes, and the schemas of their bodies.

use serde_json::{Map, Value, json};

use super::route::{Access, AdminRoute};
use super::usage_filters::FILTERS;

const SCHEMAS: &str = include_str!("schemas.json");

/// The OpenAPI document of these routes.
pub(super) fn document(routes: &[AdminRoute]) -> Value {
    let schemas: Value = serde_json::from_str(SCHEMAS).expect("a test reads the schemas");
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "cachalot admin API", "version": env!("CARGO_PKG_VERSION")},
        "security": [{"key": []}, {"session": []}],
        "paths": paths,
        "components": {"securitySchemes": {
            "key": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "cachalot"},
        }, "schemas": schemas},
    })
}

fn operation(route: &AdminRoute) -> Value {
    let id = format!(
        "{}{}",
        route.method.to_lowercase(),
        route.path.replace("/admin", "").replace(['/', '{', '}', '.'], "_")
    );
    let mut operation = json!({
        "operationId": id,
        "summary": route.summary,
        "description": access_text(route.access),
        "responses": {
            "default": {"description": "An error", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}},
        },
    });
    operation["responses"][route.success.to_string()] = match route.success {
        204 => json!({"description": "Done"}),
        _ => {
            let schema = match route.answer {
                "" if route.sends_events => json!({"type": "string"}),
                "" => json!({"type": "object"}),
                name => schema_reference(name),
            };
            let media_type = if route.sends_events { "text/event-stream" } else { "application/json" };
            json!({"description": "Done", "content": {media_type: {"schema": schema}}})
        }
    };
    if route.access == Access::Public {
        operation["security"] = json!([]);
    }
    let mut parameters = Vec::new();
    if let Some((_, rest)) = route.path.split_once('{') {
        let name = rest.split('}').next().unwrap_or_default();
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    parameters.extend(route.query.iter().map(|name| query_parameter(name)));
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if !route.body.is_empty() {
        let schema = schema_reference(route.body);
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn schema_reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A parameter of a query. Filters may be repeated.
fn query_parameter(name: &str) -> Value {
    let mut schema = json!({"type": "string"});
    if FILTERS.contains(&name) {
        schema = json!({"type": "array", "items": schema});
    }
    json!({"name": name, "in": "query", "schema": schema})
}

fn access_text(access: Access) -> String {
    match access {
        Access::Public => "Needs no role: the body has the credential.".into(),
        Access::Own => "For every role. Members read and change what belongs to their own keys.".into(),
        Access::Role(role) => format!("Needs the role `{}`.", role.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROUTES;
    use super::*;

    #[test]
    fn every_route_is_described_and_every_schema_exists() {
        let document = document(ROUTES);
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let ids: std::collections::BTreeSet<_> =
            operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), ROUTES.len(), "{ids:?}");
        for schema in ROUTES.iter().flat_map(|route| [route.body, route.answer]).filter(|schema| !schema.is_empty()) {
            assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
        }
    }
}
