//! The types of the console: what `GET /admin/openapi.json` describes, as TypeScript.

use std::fmt::Write as _;

use serde_json::Value;

use crate::app::TestAppBuilder;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../console/types/api.d.ts");

/// A schema as a type.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().expect("a reference names a schema").to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().map(type_of).collect::<Vec<_>>().join(" & ");
    }
    match &schema["type"] {
        Value::Array(types) => {
            let one = |kind: &Value| {
                let mut single = schema.clone();
                single["type"] = kind.clone();
                type_of(&single)
            };
            types.iter().map(one).collect::<Vec<_>>().join(" | ")
        }
        Value::String(name) => match name.as_str() {
            "integer" | "number" => "number".to_owned(),
            "array" => format!("{}[]", bracketed(&type_of(&schema["items"]))),
            "object" => object_type(schema),
            plain => plain.to_owned(),
        },
        _ => "unknown".to_owned(),
    }
}

fn bracketed(name: &str) -> String {
    if name.contains(['|', '&']) { format!("({name})") } else { name.to_owned() }
}

fn object_type(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object() else {
        let values = Some(&schema["additionalProperties"]).filter(|values| values.is_object());
        return format!("Record<string, {}>", values.map_or("unknown".to_owned(), type_of));
    };
    let required: Vec<&str> =
        schema["required"].as_array().map_or_else(Vec::new, |names| names.iter().filter_map(Value::as_str).collect());
    let fields = properties.iter().map(|(name, field)| {
        let optional = if required.contains(&name.as_str()) { "" } else { "?" };
        format!("{name}{optional}: {}", type_of(field))
    });
    format!("{{ {} }}", fields.collect::<Vec<_>>().join("; "))
}

/// The schemas as exported types, and the paths with their methods.
fn declarations(document: &Value) -> String {
    let mut out = String::from(
        "// Made from GET /admin/openapi.json: UPDATE_API_TYPES=1 cargo test -p server --test http api_types\n",
    );
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        out.push('\n');
        if let Some(description) = schema["description"].as_str() {
            writeln!(out, "/** {description} */").expect("a string takes every text");
        }
        writeln!(out, "export type {name} = {};", type_of(schema)).expect("a string takes every text");
    }
    out.push_str("\n/** The paths of the admin API, and their methods. */\nexport type Routes = {\n");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let names: Vec<_> = methods.as_object().expect("methods").keys().map(|name| format!("\"{name}\"")).collect();
        writeln!(out, "  \"{path}\": {};", names.join(" | ")).expect("a string takes every text");
    }
    out.push_str("};\n");
    out
}

#[tokio::test]
async fn the_types_of_the_console_are_those_of_the_admin_api() {
    let app = TestAppBuilder::without_keys().start().await;
    let document = app.request("GET", "/admin/openapi.json").header("authorization", "").send().await.json();
    let expected = declarations(&document);
    if std::env::var_os("UPDATE_API_TYPES").is_some() {
        std::fs::write(FILE, &expected).expect("the types can be written");
    }
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == expected,
        "`crates/console/types/api.d.ts` is stale: UPDATE_API_TYPES=1 cargo test -p server --test http api_types"
    );
}
