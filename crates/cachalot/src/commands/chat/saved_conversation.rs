//! The file of `/save` and `/load`: JSON whose `messages` are those of the chat completions API.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use chat::{Message, Role};
use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::slash_command::Setting;

/// The whole file.
#[derive(Debug, Default, Deserialize, Serialize)]
struct SavedConversation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    messages: Vec<SavedMessage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tokens: Option<i64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct SavedMessage {
    role: String,
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
}

/// Writes the conversation, readable by its owner only. A file of an earlier conversation is
/// replaced.
///
/// # Errors
/// A file that cannot be written, or holds something other than a conversation.
pub(super) fn save(path: &Path, conversation: &Conversation, model: &str) -> Result<()> {
    let saved = |role: &str, content: String, reasoning_content: Option<String>| SavedMessage {
        role: role.into(),
        content,
        reasoning_content,
    };
    let system = conversation.system.iter().map(|text| saved("system", text.clone(), None));
    let messages = conversation.messages.iter().map(|message| {
        let role = if message.role == Role::User { "user" } else { "assistant" };
        saved(role, message.text(), message.reasoning.clone())
    });
    let sampling = &conversation.settings.sampling;
    let file = SavedConversation {
        model: Some(model.into()),
        messages: system.chain(messages).collect(),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        seed: sampling.seed,
        max_tokens: conversation.settings.max_tokens,
    };
    let json = serde_json::to_string_pretty(&file)? + "\n";
    ensure!(
        !path.exists() || load(path, &Conversation::default()).is_ok(),
        "`{}` exists and is not a saved conversation: choose another name",
        path.display()
    );
    files::check_regular(path)
        .and_then(|()| files::replace_atomically(path, json.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// Reads a conversation and the model that it was held with. Settings that the file lacks are
/// those of `present`.
///
/// # Errors
/// A file that cannot be read, or holds something other than messages of text.
pub(super) fn load(path: &Path, present: &Conversation) -> Result<(Conversation, Option<String>)> {
    let context = || format!("cannot load `{}`", path.display());
    let json = files::read_text(path, crate::MAX_INPUT_BYTES).with_context(context)?;
    let file: SavedConversation = serde_json::from_str(&json).with_context(context)?;
    let mut loaded = Conversation { settings: present.settings.clone(), ..Conversation::default() };
    for (index, message) in file.messages.into_iter().enumerate() {
        match message.role.as_str() {
            "system" => {
                ensure!(index == 0, "{}: message {index} is a system prompt, which must be the first one", context());
                loaded.system = Some(message.content);
            }
            "user" => loaded.messages.push(Message::new(Role::User, message.content)),
            "assistant" => loaded.messages.push(Message {
                reasoning: message.reasoning_content,
                ..Message::new(Role::Assistant, message.content)
            }),
            role => {
                bail!("{}: message {index} has the role `{role}`: it takes system, user or assistant", context())
            }
        }
    }
    let settings = [
        Setting::Temperature(file.temperature),
        Setting::TopP(file.top_p),
        Setting::Seed(file.seed),
        Setting::MaxTokens(file.max_tokens),
    ];
    for setting in settings.into_iter().filter(|setting| !Setting::DEFAULTS.contains(setting)) {
        ensure!(setting.is_in_range(), "{}: {setting}, out of its range", context());
        loaded.settings.set(setting);
    }
    Ok((loaded, file.model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::Reply;

    #[test]
    fn a_saved_conversation_is_loaded_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let mut conversation = Conversation::new(Some("Be brief.".into()));
        let reply = Reply { text: "\"a\"\n.".into(), reasoning: "hm".into(), ..Reply::default() };
        conversation.push("a?", reply);
        conversation.settings.sampling.temperature = Some(0.2);
        conversation.settings.sampling.seed = Some(i64::MAX);
        save(&path, &conversation, "m").unwrap();
        let (loaded, model) = load(&path, &Conversation::default()).unwrap();
        assert_eq!((loaded, model.as_deref()), (conversation, Some("m")));
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        for (text, fault) in [
            ("", "EOF"),
            ("{}", "messages"),
            (r#"{"messages": [{"role": "tool", "content": "x"}]}"#, "the role `tool`"),
            (r#"{"messages": [{"role": "user", "content": [1]}]}"#, "expected a string"),
            (r#"{"messages": [{"role": "user", "content": ""}, {"role": "system", "content": ""}]}"#, "the first one"),
            (r#"{"messages": [], "temperature": 9}"#, "temperature is 9"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = crate::with_causes(&load(&path, &Conversation::default()).unwrap_err());
            assert!(error.contains(fault) && error.contains("talk.json"), "{text}: {error}");
        }
        assert!(load(&folder.path().join("missing"), &Conversation::default()).is_err());
        assert!(save(folder.path(), &Conversation::default(), "m").is_err());
        std::fs::write(&path, "notes").unwrap();
        let error = save(&path, &Conversation::default(), "m").unwrap_err().to_string();
        assert!(error.contains("not a saved conversation"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            save(&path, &Conversation::default(), "m").unwrap();
        }
    }
}
