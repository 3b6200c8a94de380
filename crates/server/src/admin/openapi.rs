//! The OpenAPI description of the admin API: its routes, and the schemas of their bodies.

use serde_json::{Map, Value, json};

use super::route::AdminRoute;

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
        "security": [{"key": []}],
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
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
        "description": format!("Needs the role `{}`.", route.required_role.as_str()),
        "responses": {
            "default": {"description": "An error", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}},
        },
    });
    let success = if route.method == "POST" && !route.body.is_empty() { "201" } else { "200" };
    operation["responses"][success] =
        json!({"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}});
    let mut parameters = Vec::new();
    if let Some((_, rest)) = route.path.split_once('{') {
        let name = rest.trim_end_matches('}');
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    let query = match route.path {
        "/admin/usage" => &["by", "days"][..],
        "/admin/records" => &["limit"],
        _ => &[],
    };
    parameters.extend(query.iter().map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})));
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if !route.body.is_empty() {
        let schema = format!("#/components/schemas/{}", route.body);
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": {"$ref": schema}}}});
    }
    operation
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
        for route in ROUTES.iter().filter(|route| !route.body.is_empty()) {
            assert!(document["components"]["schemas"][route.body].is_object(), "{}", route.body);
        }
    }
}
