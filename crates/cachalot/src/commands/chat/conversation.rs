//! The conversation: its messages and the settings of its answers.

use chat::{Chat, Input, Message, Reply, Role, Sampling};

use super::slash_command::Setting;

/// The messages so far, and the settings of the next answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conversation {
    /// The system prompt.
    pub(super) system: Option<String>,
    /// Questions and answers. Those of the model keep their reasoning.
    pub(super) messages: Vec<Message>,
    pub(super) settings: Settings,
}

/// Settings of the answers. `None`: the default of the model or its server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) sampling: Sampling,
    pub(super) max_tokens: Option<i64>,
}

impl Settings {
    /// All settings, in the order of [`Setting::DEFAULTS`].
    pub(super) fn all(&self) -> [Setting; 4] {
        let sampling = &self.sampling;
        [
            Setting::Temperature(sampling.temperature),
            Setting::TopP(sampling.top_p),
            Setting::Seed(sampling.seed),
            Setting::MaxTokens(self.max_tokens),
        ]
    }

    /// Sets a setting. Its range has been checked.
    pub(super) fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Temperature(value) => self.sampling.temperature = value,
            Setting::TopP(value) => self.sampling.top_p = value,
            Setting::Seed(value) => self.sampling.seed = value,
            Setting::MaxTokens(value) => self.max_tokens = value,
        }
    }
}

impl Conversation {
    pub(super) fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
    }

    /// The request for the answer to `question`, which is not added yet.
    pub(super) fn request(&self, model: &str, thinking: Option<bool>, question: &str) -> Chat {
        let system = self.system.iter().map(|text| Message::new(Role::System, text.as_str()));
        // Earlier reasoning is not part of the prompt.
        let earlier = self.messages.iter().map(|message| Message { reasoning: None, ..message.clone() });
        let messages = system.chain(earlier).chain([Message::new(Role::User, question)]).collect();
        Chat {
            model: model.into(),
            input: Input::Messages(messages),
            thinking,
            sampling: self.settings.sampling.clone(),
            max_tokens: self.settings.max_tokens,
            ..Chat::default()
        }
    }

    /// Adds a question and its answer. An answer without text, as one that was stopped at once, is
    /// not added: a model would see an answer that says nothing.
    pub(super) fn push(&mut self, question: &str, reply: Reply) {
        if reply.text.is_empty() {
            return;
        }
        let reasoning = Some(reply.reasoning).filter(|reasoning| !reasoning.is_empty());
        self.messages.push(Message::new(Role::User, question));
        self.messages.push(Message { reasoning, ..Message::new(Role::Assistant, reply.text) });
    }

    /// Forgets the messages. The system prompt and the settings stay.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply { text: text.into(), reasoning: "hm".into(), ..Reply::default() }
    }

    #[test]
    fn a_request_has_the_whole_conversation_without_reasoning() {
        let mut conversation = Conversation::new(Some("Be brief.".into()));
        conversation.push("a?", reply("a."));
        let chat = conversation.request("m", Some(true), "b?");
        let Input::Messages(messages) = chat.input else { panic!("a chat has messages") };
        let texts: Vec<String> = messages.iter().map(Message::text).collect();
        assert_eq!(texts, ["Be brief.", "a?", "a.", "b?"]);
        assert!(messages.iter().all(|message| message.reasoning.is_none()));
        assert_eq!(conversation.messages[1].reasoning.as_deref(), Some("hm"));
        assert_eq!((chat.model.as_str(), chat.thinking), ("m", Some(true)));
    }

    #[test]
    fn an_answer_that_was_stopped_at_once_leaves_no_trace() {
        let mut conversation = Conversation::default();
        conversation.push("a?", reply(""));
        assert!(conversation.messages.is_empty());
    }

    #[test]
    fn settings_are_sent_and_can_be_undone() {
        let mut conversation = Conversation::default();
        let settings = [
            Setting::Temperature(Some(0.2)),
            Setting::TopP(Some(0.9)),
            Setting::Seed(Some(-7)),
            Setting::MaxTokens(Some(50)),
        ];
        settings.into_iter().for_each(|setting| conversation.settings.set(setting));
        assert_eq!(conversation.settings.all(), settings);
        let chat = conversation.request("m", None, "b?");
        assert_eq!((chat.sampling.temperature, chat.sampling.seed, chat.max_tokens), (Some(0.2), Some(-7), Some(50)));
        Setting::DEFAULTS.into_iter().for_each(|setting| conversation.settings.set(setting));
        assert_eq!(conversation.settings, Settings::default());
    }
}
