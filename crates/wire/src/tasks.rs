//! Asynchronous tasks at providers: Midjourney, Suno, video (API document 4.8 to 4.11), and batches
//! of requests (2.10). Their bodies are forwarded; only the id and the state of a task are read.

pub mod id_rewriting;

use serde_json::Value;

/// An API of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    Midjourney,
    Suno,
    Video,
    /// OpenAI's batches of requests.
    Batch,
}

/// A task that a provider has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAccepted {
    /// The id of the provider.
    pub id: String,
    /// Whether the task is new and is charged.
    pub is_new: bool,
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    InProgress,
    Succeeded,
    Failed,
}

/// The models of Midjourney, by which its actions are priced.
pub const MIDJOURNEY_MODELS: [&str; 8] =
    ["mj_imagine", "mj_action", "mj_blend", "mj_describe", "mj_modal", "mj_video", "mj_edits", "mj_shorten"];
/// The models of Suno, by which its actions are priced.
pub const SUNO_MODELS: [&str; 3] = ["suno_music", "suno_lyrics", "suno_concat"];

impl TaskKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Midjourney, Self::Suno, Self::Video, Self::Batch];

    /// The name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Midjourney => "midjourney",
            Self::Suno => "suno",
            Self::Video => "video",
            Self::Batch => "batch",
        }
    }

    /// The model by which an action is priced; `None` for an unknown action.
    pub fn model_of_action(self, action: &str) -> Option<String> {
        let (prefix, models): (_, &[&str]) = match self {
            Self::Midjourney => ("mj", &MIDJOURNEY_MODELS),
            Self::Suno => ("suno", &SUNO_MODELS),
            Self::Video | Self::Batch => return None,
        };
        let model = format!("{prefix}_{action}");
        models.contains(&&*model).then_some(model)
    }

    /// The path below the provider's base URL that returns the state of a task.
    pub fn fetch_path(self, id: &str) -> String {
        match self {
            Self::Midjourney => format!("mj/task/{id}/fetch"),
            Self::Suno => format!("suno/fetch/{id}"),
            Self::Video => format!("videos/{id}"),
            Self::Batch => format!("batches/{id}"),
        }
    }

    /// The task that a provider has accepted; `None` when it has not accepted one.
    pub fn accepted_task(self, answer: &Value) -> Option<TaskAccepted> {
        // 21: the task exists already, or waits for more input.
        let is_new = self != Self::Midjourney || answer["code"] != 21;
        let id = match self {
            // 1: accepted; 22: queued.
            Self::Midjourney => matches!(answer["code"].as_i64(), Some(1 | 21 | 22)).then_some(&answer["result"]),
            Self::Suno => (answer["code"] == "success").then_some(&answer["data"]),
            Self::Video | Self::Batch => Some(&answer["id"]),
        };
        let id = match id? {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return None,
        };
        is_path_safe_id(&id).then_some(TaskAccepted { id, is_new })
    }

    /// Whether `answer` is a response to a submission: a task, or an error of this API.
    pub fn is_submission_response(self, answer: &Value) -> bool {
        match self {
            // An accepted task needs an id, or its state cannot be requested.
            Self::Midjourney => {
                answer["code"].is_i64()
                    && (!matches!(answer["code"].as_i64(), Some(1 | 22)) || self.accepted_task(answer).is_some())
            }
            Self::Suno => {
                answer["code"].is_string() && (answer["code"] != "success" || self.accepted_task(answer).is_some())
            }
            Self::Video | Self::Batch => self.accepted_task(answer).is_some(),
        }
    }

    /// Whether `answer` describes a task.
    pub fn is_task_response(self, answer: &Value) -> bool {
        let has = |fields: &[&str]| fields.iter().any(|field| !answer[*field].is_null());
        match self {
            Self::Midjourney => has(&["id", "status", "code"]),
            Self::Suno => has(&["code", "status", "task_id"]),
            Self::Video => has(&["id", "status"]),
            Self::Batch => answer["status"].is_string(),
        }
    }

    /// The state of the task that a provider's response describes.
    pub fn state(self, task: &Value) -> TaskState {
        let status = match self {
            Self::Midjourney | Self::Video | Self::Batch => &task["status"],
            // The response is the task or contains it.
            Self::Suno => {
                [&task["status"], &task["data"]["status"]].into_iter().find(|s| s.is_string()).unwrap_or(&Value::Null)
            }
        };
        match status.as_str().unwrap_or_default() {
            "SUCCESS" | "completed" => TaskState::Succeeded,
            "FAILURE" | "failed" => TaskState::Failed,
            // Parts of these batches may have been answered.
            "cancelled" | "expired" if self == Self::Batch => TaskState::Failed,
            _ => TaskState::InProgress,
        }
    }

    /// The id of a task in a list of tasks.
    pub fn id_in_list(self, task: &Value) -> Option<&str> {
        task[if self == Self::Suno { "task_id" } else { "id" }].as_str()
    }

    /// The id of the task that a request continues, which may belong to another caller. The id may
    /// be written as a number.
    pub fn parent_task_id(self, request: &Value) -> Option<String> {
        let field = match self {
            Self::Midjourney => &request["taskId"],
            Self::Suno => &request["task_id"],
            Self::Video | Self::Batch => return None,
        };
        match field {
            Value::Null => None,
            Value::String(id) => Some(id.clone()),
            other => Some(other.to_string()),
        }
    }

    /// Creates a public id from random bytes, in the format of this API.
    pub fn new_public_id(self, random: [u8; 16]) -> String {
        let number = u128::from_be_bytes(random);
        match self {
            // 19 digits, which fit into 63 bits.
            Self::Midjourney => (1_000_000_000_000_000_000 + number % 8_000_000_000_000_000_000).to_string(),
            // A UUID of version 4.
            Self::Suno => {
                let number = number & !(0xf000 << 64) | (0x4000 << 64);
                let number = number & !(0xc000 << 48) | (0x8000 << 48);
                let hex = format!("{number:032x}");
                format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
            Self::Video => format!("video_{number:032x}"),
            Self::Batch => format!("batch_{number:032x}"),
        }
    }

    /// Whether `id` has the format of a public id.
    pub fn is_public_id(self, id: &str) -> bool {
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match self {
            Self::Midjourney => id.len() == 19 && id.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Suno => {
                let parts: Vec<_> = id.split('-').collect();
                parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| hex(part))
            }
            Self::Video | Self::Batch => {
                let prefix = if self == Self::Video { "video_" } else { "batch_" };
                id.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && hex(rest))
            }
        }
    }
}

/// Whether `id` can be a path segment without escapes.
pub fn is_path_safe_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_accepted_task_has_an_id() {
        let taken = |kind: TaskKind, answer| kind.accepted_task(&answer).map(|taken| taken.id);
        let mj = |code: i64| json!({"code": code, "description": "", "result": "17733", "properties": {}});
        assert_eq!(taken(TaskKind::Midjourney, mj(1)).as_deref(), Some("17733"));
        assert_eq!(taken(TaskKind::Midjourney, mj(22)).as_deref(), Some("17733"));
        assert_eq!(taken(TaskKind::Midjourney, mj(24)), None, "banned words");
        assert!(
            !TaskKind::Midjourney.accepted_task(&mj(21)).unwrap().is_new
                && TaskKind::Midjourney.accepted_task(&mj(1)).unwrap().is_new
        );
        assert_eq!(taken(TaskKind::Midjourney, json!({"code": 1, "result": 5})).as_deref(), Some("5"));
        assert_eq!(taken(TaskKind::Suno, json!({"code": "success", "data": "a-b"})).as_deref(), Some("a-b"));
        assert_eq!(taken(TaskKind::Suno, json!({"code": "fail_to_submit", "data": null})), None);
        assert_eq!(taken(TaskKind::Video, json!({"id": "video_1"})).as_deref(), Some("video_1"));
        assert_eq!(taken(TaskKind::Video, json!({"id": "../../keys"})), None);
        assert_eq!(taken(TaskKind::Video, json!(null)), None);
    }

    #[test]
    fn only_known_actions_have_a_model() {
        assert_eq!(TaskKind::Midjourney.model_of_action("imagine").as_deref(), Some("mj_imagine"));
        assert_eq!(TaskKind::Suno.model_of_action("music").as_deref(), Some("suno_music"));
        assert!(
            TaskKind::Midjourney.model_of_action("music").is_none() && TaskKind::Suno.model_of_action("").is_none()
        );
        assert!(TaskKind::Video.model_of_action("imagine").is_none());
    }

    #[test]
    fn states_of_tasks_are_read() {
        for (kind, task, state) in [
            (TaskKind::Midjourney, json!({"status": "SUCCESS"}), TaskState::Succeeded),
            (TaskKind::Midjourney, json!({"status": "MODAL"}), TaskState::InProgress),
            (TaskKind::Midjourney, json!({"status": "FAILURE"}), TaskState::Failed),
            (TaskKind::Suno, json!({"code": "success", "data": {"status": "FAILURE"}}), TaskState::Failed),
            (TaskKind::Suno, json!({"task_id": "a", "status": "SUCCESS", "data": []}), TaskState::Succeeded),
            (TaskKind::Video, json!({"status": "in_progress"}), TaskState::InProgress),
            (TaskKind::Video, json!({"status": "failed"}), TaskState::Failed),
            (TaskKind::Video, json!("odd"), TaskState::InProgress),
            (TaskKind::Video, json!({"status": "cancelled"}), TaskState::InProgress),
            (TaskKind::Batch, json!({"status": "cancelling"}), TaskState::InProgress),
            (TaskKind::Batch, json!({"status": "cancelled"}), TaskState::Failed),
            (TaskKind::Batch, json!({"status": "expired"}), TaskState::Failed),
            (TaskKind::Batch, json!({"status": "completed"}), TaskState::Succeeded),
        ] {
            assert_eq!(kind.state(&task), state, "{task}");
        }
    }
}
