//! Whether a JSON value has content, found without storing it: there may be megabytes of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The fields of a delta, a block or a part that describe content and are none.
const DESCRIPTIONS: [&str; 13] = [
    "role",
    "name",
    "id",
    "type",
    "index",
    "tool_use_id",
    "signature",
    "thoughtSignature",
    "citation",
    "citations",
    "annotations",
    "provider_specific_fields",
    "partMetadata",
];
/// The fields that have parts of tool calls.
const CALLS: [&str; 3] = ["tool_calls", "function_call", "functionCall"];

/// Whether a value has anything in it: text, items or fields. Numbers and truth values are nothing
/// to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NonEmpty(pub(super) bool);

/// The content of a delta, a block or a part: that of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) is_any: bool,
    /// A part of a tool call is among it.
    pub(super) is_call: bool,
}

impl Content {
    pub(super) fn add(&mut self, other: Self) {
        self.is_any |= other.is_any;
        self.is_call |= other.is_call;
    }
}

/// Text without a copy, where it has no escapes; `None` for any other value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

impl Word<'_> {
    /// The word, unless it is empty.
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref().filter(|word| !word.is_empty())
    }
}

impl<'de> Deserialize<'de> for NonEmpty {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ValueVisitor(Question::IsNonEmpty)).map(|answer| Self(answer.is_non_empty))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ValueVisitor(Question::Content)).map(|answer| answer.content)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ValueVisitor(Question::Word)).map(|answer| Self(answer.word))
    }
}

/// A question about a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    IsNonEmpty,
    /// The content of the fields of an object.
    Content,
    Word,
}

#[derive(Default)]
struct Answer<'a> {
    is_non_empty: bool,
    content: Content,
    word: Option<Cow<'a, str>>,
}

struct ValueVisitor(Question);

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Answer<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Answer<'de>, E> {
        Ok(Answer::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Answer<'de>, E> {
        Ok(Answer::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Answer<'de>, E> {
        Ok(Answer::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Answer<'de>, E> {
        Ok(Answer::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Answer<'de>, E> {
        Ok(Answer::default())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Answer<'de>, E> {
        Ok(Answer { is_non_empty: !text.is_empty(), word: Some(Cow::Borrowed(text)), ..Answer::default() })
    }

    fn visit_str<E>(self, text: &str) -> Result<Answer<'de>, E> {
        let word = (self.0 == Question::Word).then(|| Cow::Owned(text.to_owned()));
        Ok(Answer { is_non_empty: !text.is_empty(), word, ..Answer::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Answer<'de>, A::Error> {
        let mut is_non_empty = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_non_empty = true;
        }
        Ok(Answer { is_non_empty, ..Answer::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Answer<'de>, A::Error> {
        let mut object = Answer::default();
        while let Some(Word(key)) = fields.next_key()? {
            object.is_non_empty = true;
            if self.0 != Question::Content {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            let key = key.unwrap_or_default();
            if fields.next_value::<NonEmpty>()?.0 && !DESCRIPTIONS.contains(&&*key) {
                object.content.add(Content { is_any: true, is_call: CALLS.contains(&&*key) });
            }
        }
        Ok(object)
    }
}

/// Reads a list item by item, and folds each into a summary; null is an empty list.
pub(super) fn fold_list<'de, T: Deserialize<'de>, S: Default, D: Deserializer<'de>>(
    json: D,
    add: fn(&mut S, T),
) -> Result<S, D::Error> {
    struct List<T, S>(fn(&mut S, T));
    impl<'de, T: Deserialize<'de>, S: Default> Visitor<'de> for List<T, S> {
        type Value = S;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<S, E> {
            Ok(S::default())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<S, A::Error> {
            let mut summary = S::default();
            while let Some(item) = list.next_element()? {
                (self.0)(&mut summary, item);
            }
            Ok(summary)
        }
    }
    json.deserialize_any(List(add))
}
