//! Tasks that run elsewhere for a while: Midjourney, Suno, video (API document 4.8 to 4.11). Their
//! bodies pass; read is only what a task is called and how it goes.

pub mod id_rewriting;

use serde_json::Value;

/// A family of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    Midjourney,
    Suno,
    Video,
}

/// A task that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAccepted {
    pub id: String,
    /// It is to be paid for.
    pub is_new: bool,
}

/// How a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    InProgress,
    Succeeded,
    Failed,
}

/// The models of Midjourney: what its actions are priced by.
pub const MIDJOURNEY_MODELS: [&str; 8] =
    ["mj_imagine", "mj_action", "mj_blend", "mj_describe", "mj_modal", "mj_video", "mj_edits", "mj_shorten"];
pub const SUNO_MODELS: [&str; 3] = ["suno_music", "suno_lyrics", "suno_concat"];

impl TaskKind {
    pub const ALL: [Self; 3] = [Self::Midjourney, Self::Suno, Self::Video];

    /// What the store calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Midjourney => "midjourney",
            Self::Suno => "suno",
            Self::Video => "video",
        }
    }

    /// What an action of this kind is priced by; `None` when there is no such action.
    pub fn model_of_action(self, action: &str) -> Option<String> {
        let (prefix, models): (_, &[&str]) = match self {
            Self::Midjourney => ("mj", &MIDJOURNEY_MODELS),
            Self::Suno => ("suno", &SUNO_MODELS),
            Self::Video => return None,
        };
        let model = format!("{prefix}_{action}");
        models.contains(&&*model).then_some(model)
    }

    /// The path below the provider's base URL that tells how a task goes.
    pub fn fetch_path(self, id: &str) -> String {
        match self {
            Self::Midjourney => format!("mj/task/{id}/fetch"),
            Self::Suno => format!("suno/fetch/{id}"),
            Self::Video => format!("videos/{id}"),
        }
    }

    /// The task that a provider says it has taken; `None` when it has not.
    pub fn accepted_task(self, answer: &Value) -> Option<TaskAccepted> {
        // It is there already, or waits for more to be said.
        let is_new = self != Self::Midjourney || answer["code"] != 21;
        let id = match self {
            // 1: taken; 22: queued.
            Self::Midjourney => matches!(answer["code"].as_i64(), Some(1 | 21 | 22)).then_some(&answer["result"]),
            Self::Suno => (answer["code"] == "success").then_some(&answer["data"]),
            Self::Video => Some(&answer["id"]),
        };
        let id = match id? {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return None,
        };
        is_path_safe_id(&id).then_some(TaskAccepted { id, is_new })
    }

    /// An answer to a submission: a task, or a refusal in the words of the family.
    pub fn is_submission_response(self, answer: &Value) -> bool {
        match self {
            // What was taken has an id, or nobody could follow it.
            Self::Midjourney => {
                answer["code"].is_i64()
                    && (!matches!(answer["code"].as_i64(), Some(1 | 22)) || self.accepted_task(answer).is_some())
            }
            Self::Suno => {
                answer["code"].is_string() && (answer["code"] != "success" || self.accepted_task(answer).is_some())
            }
            Self::Video => self.accepted_task(answer).is_some(),
        }
    }

    /// A description of a task.
    pub fn is_task_response(self, answer: &Value) -> bool {
        let has = |fields: &[&str]| fields.iter().any(|field| !answer[*field].is_null());
        match self {
            Self::Midjourney => has(&["id", "status", "code"]),
            Self::Suno => has(&["code", "status", "task_id"]),
            Self::Video => has(&["id", "status"]),
        }
    }

    /// How the task goes that a provider's answer describes.
    pub fn state(self, task: &Value) -> TaskState {
        let status = match self {
            Self::Midjourney | Self::Video => &task["status"],
            // The answer may be the task, or hold it.
            Self::Suno => {
                [&task["status"], &task["data"]["status"]].into_iter().find(|s| s.is_string()).unwrap_or(&Value::Null)
            }
        };
        match status.as_str().unwrap_or_default() {
            "SUCCESS" | "completed" => TaskState::Succeeded,
            "FAILURE" | "failed" => TaskState::Failed,
            _ => TaskState::InProgress,
        }
    }

    /// What a task in a list of tasks is called.
    pub fn id_in_list(self, task: &Value) -> Option<&str> {
        task[if self == Self::Suno { "task_id" } else { "id" }].as_str()
    }

    /// The task that a request goes on from, which another may own: also where its id is
    /// written as a number.
    pub fn parent_task_id(self, request: &Value) -> Option<String> {
        let field = match self {
            Self::Midjourney => &request["taskId"],
            Self::Suno => &request["task_id"],
            Self::Video => return None,
        };
        match field {
            Value::Null => None,
            Value::String(id) => Some(id.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// Whether it can be a part of a path, as it is.
pub fn is_path_safe_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_taken_has_an_id() {
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
    fn how_it_goes_is_understood() {
        for (kind, task, state) in [
            (TaskKind::Midjourney, json!({"status": "SUCCESS"}), TaskState::Succeeded),
            (TaskKind::Midjourney, json!({"status": "MODAL"}), TaskState::InProgress),
            (TaskKind::Midjourney, json!({"status": "FAILURE"}), TaskState::Failed),
            (TaskKind::Suno, json!({"code": "success", "data": {"status": "FAILURE"}}), TaskState::Failed),
            (TaskKind::Suno, json!({"task_id": "a", "status": "SUCCESS", "data": []}), TaskState::Succeeded),
            (TaskKind::Video, json!({"status": "in_progress"}), TaskState::InProgress),
            (TaskKind::Video, json!({"status": "failed"}), TaskState::Failed),
            (TaskKind::Video, json!("odd"), TaskState::InProgress),
        ] {
            assert_eq!(kind.state(&task), state, "{task}");
        }
    }
}
