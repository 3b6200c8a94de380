//! Rows of data about what models take, by model pattern, and the changes to a request body that
//! follow from them. Converted requests and forwarded ones are changed by the same code.

mod change_notes;
mod combinations;
mod messages;
mod origin;
mod parameters;
mod pattern;
mod request_rules;
mod row;
mod thinking;
mod tool_names;
mod validation;

pub use change_notes::ChangeNotes;
pub use origin::RequestOrigin;
pub use pattern::Pattern;
pub use request_rules::RequestRules;
pub use row::{ForcedTool, ModelRow, ThinkingOff, ThinkingShape, ToolsEndpoint};
pub use tool_names::{ShortToolNames, ToolNameReader};

#[cfg(test)]
mod tests;
