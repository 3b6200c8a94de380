//! The fate of a noun: the difference between the requests that are sent with it and without it.

use std::collections::BTreeSet;

use chat::{Chat, Error, fold};
use serde_json::Value;
use wire::upstream::{Dialect, SignatureStore};

use crate::surface::Surface;
use crate::{Noun, dialect};

/// The fate of a noun of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It is in the provider's request as it was in the caller's.
    Carried,
    /// It is in the provider's request at these paths.
    Translated(Vec<String>),
    /// As `Translated`, and a note says that something is missing.
    PartlyTranslated(Vec<String>),
    /// It is missing, and a note says so.
    Noted,
    /// The caller gets an error with this message.
    Refused(String),
    /// It is missing, and the provider does it anyway.
    Default,
    /// It is requested by several requests to the provider.
    Repeated,
    Lost,
}

/// Most paths that an outcome names.
const MAX_PATHS: usize = 3;

/// The signatures of what the nouns call signed.
struct Signatures;

impl SignatureStore for Signatures {
    fn find(&self, text: &str) -> Option<String> {
        ["a signed thought", "call signed_call"].contains(&text).then(|| "c2lnbmVk".into())
    }

    fn provider(&self) -> &str {
        "0a1b2c3d"
    }
}

struct Sent {
    body: Value,
    notes: Vec<String>,
}

fn send(chat: &Chat, dialect: Dialect) -> Result<Sent, Error> {
    let model = dialect::model(dialect);
    let request = dialect.write_request(chat, model, &Signatures)?;
    let body = serde_json::from_str(&request.body).unwrap();
    let dropped = request.dropped.into_iter().map(str::to_owned);
    Ok(Sent { body, notes: chat.notes.iter().cloned().chain(dropped).collect() })
}

/// The outcome of a noun between an API and a dialect.
pub(crate) fn of_request(surface: Surface, noun: &Noun, dialect: Dialect) -> Outcome {
    let without = surface.chats(&noun.without).and_then(|chats| send(&chats[0], dialect));
    let without = without.unwrap_or_else(|error| panic!("{}: without it, {}", noun.name, error.message));
    let chats = match surface.chats(&noun.with) {
        Ok(chats) if chats.len() > 1 => return Outcome::Repeated,
        Ok(chats) => chats,
        Err(error) => return Outcome::Refused(error.message),
    };
    let with = match send(&chats[0], dialect) {
        Ok(sent) => sent,
        Err(error) => return Outcome::Refused(error.message),
    };
    let arrived = added(&without.body, &with.body);
    let is_noted = with.notes.iter().any(|note| !without.notes.contains(note));
    if arrived.is_empty() {
        // Where no tool may be called, there may be none.
        let left_out = added(&with.body, &without.body);
        return match is_noted {
            false if !left_out.is_empty() => Outcome::Translated(summary(&left_out)),
            true => Outcome::Noted,
            false if noun.is_default_of.contains(&dialect) => Outcome::Default,
            false => Outcome::Lost,
        };
    }
    let asked = added(&noun.without, &noun.with);
    let paths = summary(&arrived);
    match is_noted {
        true => Outcome::PartlyTranslated(paths),
        false if asked.is_subset(&arrived) => Outcome::Carried,
        false => Outcome::Translated(paths),
    }
}

/// The fate of a noun of a provider's answer: the paths at which it is returned, and whether a note
/// says that it or a part of it is missing.
pub(crate) fn of_answer(surface: Surface, dialect: Dialect, (without, with): &(Value, Value)) -> (Vec<String>, bool) {
    let rendered = |answer: &Value| {
        let chat = Chat { stop: vec!["END".into()], ..Chat::default() };
        let (mut reader, mut deltas) = (dialect.event_reader(&chat), Vec::new());
        reader.read_body(&answer.to_string(), &mut deltas).unwrap();
        reader.finish(&mut deltas).unwrap();
        let renderer = surface.renderer();
        let is_dropped = deltas.iter().any(|delta| renderer.dropped(delta).is_some());
        let reply = fold(deltas.into_iter().map(Ok)).unwrap();
        let is_noted = is_dropped || !renderer.missing(std::slice::from_ref(&reply)).is_empty();
        (surface.answer(&reply), is_noted)
    };
    let ((without, _), (with, is_noted)) = (rendered(without), rendered(with));
    (summary(&added(&without, &with)), is_noted)
}

/// The leaves of `with` that are not in `without`.
fn added(without: &Value, with: &Value) -> BTreeSet<(String, String)> {
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    collect_leaves(without, String::new(), &mut before);
    collect_leaves(with, String::new(), &mut after);
    after.difference(&before).cloned().collect()
}

/// Collects each value that is not a list or an object with its path. Numbers are compared as
/// floats.
fn collect_leaves(value: &Value, path: String, to: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect_leaves(value, path, to);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                collect_leaves(value, format!("{path}[{index}]"), to);
            }
        }
        Value::Number(number) => _ = to.insert((path, number.as_f64().unwrap_or_default().to_string())),
        _ => _ = to.insert((path, value.to_string())),
    }
}

/// At most [`MAX_PATHS`] paths without indices: those of the leaves, or of what contains them.
fn summary(leaves: &BTreeSet<(String, String)>) -> Vec<String> {
    let without_indices = |path: &String| {
        let pieces = path.split('[').enumerate();
        pieces.map(|(at, piece)| if at == 0 { piece.into() } else { format!("[]{}", after_index(piece)) }).collect()
    };
    let all: BTreeSet<String> = leaves.iter().map(|(path, _)| without_indices(path)).collect();
    let says_what = |path: &&String| !path.ends_with(".type") && !path.ends_with(".role");
    let mut paths: BTreeSet<String> = all.iter().filter(says_what).cloned().collect();
    if paths.is_empty() {
        paths = all;
    }
    while paths.len() > MAX_PATHS {
        let parent = |path: &String| path.rsplit_once('.').map_or(path.clone(), |(parent, _)| parent.to_owned());
        let deepest = paths.iter().map(|path| path.matches('.').count()).max().unwrap_or_default();
        if deepest == 0 {
            break;
        }
        paths = paths
            .iter()
            .map(|path| if path.matches('.').count() == deepest { parent(path) } else { path.clone() })
            .collect();
    }
    paths.into_iter().collect()
}

fn after_index(piece: &str) -> &str {
    piece.split_once(']').map_or("", |(_, rest)| rest)
}
