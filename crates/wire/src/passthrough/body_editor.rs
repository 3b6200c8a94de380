//! Changes of a body that is forwarded, which are collected and then made at once.

use std::borrow::Cow;

use serde_json::Value;

use crate::passthrough::json_fields::JsonFields;

/// The changes of a body. Later ones see those before them. All other bytes stay unchanged.
#[derive(Debug)]
pub struct BodyEditor<'a> {
    fields: &'a JsonFields<'a>,
    /// New values as JSON text, or `None` for a field that is removed.
    changes: Vec<(String, Option<String>)>,
}

impl<'a> BodyEditor<'a> {
    /// An editor of the body that has these fields.
    pub fn new(fields: &'a JsonFields<'a>) -> Self {
        Self { fields, changes: Vec::new() }
    }

    /// The value of a field as JSON text; `None` if it is absent or null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let changed = self.changes.iter().find(|(known, _)| known == name);
        let value = match changed {
            Some((_, value)) => value.as_deref().map(str::as_bytes),
            None => self.fields.get(name),
        };
        value.filter(|value| *value != b"null")
    }

    /// The parsed value of a field; `None` if it is absent, null or invalid.
    pub fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(self.get(name)?).ok()
    }

    /// Replaces or adds a field. `json` is its new value.
    pub fn set(&mut self, name: &str, json: String) {
        self.change(name, Some(json));
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        if self.fields.get(name).is_some() || self.get(name).is_some() {
            self.change(name, None);
        }
    }

    /// The value at a path, whose names are separated by dots, as JSON text; `None` if it is absent
    /// or null. A name may also be written in snake case.
    pub fn get_path(&self, path: &str) -> Option<Cow<'_, [u8]>> {
        let (first, rest) = split_path(path);
        let value = self.get(self.spelling(first).as_ref())?;
        match rest {
            None => Some(Cow::Borrowed(value)),
            Some(rest) => {
                let fields = JsonFields::scan(value).ok()?;
                BodyEditor::new(&fields).get_path(rest).map(|value| Cow::Owned(value.into_owned()))
            }
        }
    }

    /// Replaces or adds the value at a path. Does nothing where the path leads through something
    /// that is not an object, which the provider refuses.
    pub fn set_path(&mut self, path: &str, json: String) {
        self.change_path(path, Some(json));
    }

    /// Removes the value at a path.
    pub fn remove_path(&mut self, path: &str) {
        if self.get_path(path).is_some() {
            self.change_path(path, None);
        }
    }

    fn change_path(&mut self, path: &str, json: Option<String>) {
        let (first, rest) = split_path(path);
        let name = self.spelling(first).into_owned();
        let Some(rest) = rest else { return self.change(&name, json) };
        let object = self.get(&name).unwrap_or(b"{}").to_vec();
        let Ok(fields) = JsonFields::scan(&object) else { return };
        let mut editor = BodyEditor::new(&fields);
        editor.change_path(rest, json);
        if let Some(object) = editor.finish() {
            self.set(&name, String::from_utf8_lossy(&object).into_owned());
        }
    }

    fn change(&mut self, name: &str, value: Option<String>) {
        match self.changes.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.changes.push((name.to_owned(), value)),
        }
    }

    /// The name as the body has it: as it is, else in snake case.
    fn spelling<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.get(name).is_some() || !name.contains(|char: char| char.is_ascii_uppercase()) {
            return Cow::Borrowed(name);
        }
        let snake = name.chars().fold(String::new(), |mut snake, char| {
            if char.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(char.to_ascii_lowercase());
            snake
        });
        if self.get(&snake).is_some() { Cow::Owned(snake) } else { Cow::Borrowed(name) }
    }

    /// The changes.
    pub fn into_changes(self) -> Vec<(String, Option<String>)> {
        self.changes
    }

    /// The changed body; `None` without changes.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.changes.is_empty()).then(|| self.fields.with_edits(&self.changes))
    }
}

fn split_path(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(body: &str, edit: impl Fn(&mut BodyEditor<'_>)) -> String {
        let fields = JsonFields::scan(body.as_bytes()).unwrap();
        let mut editor = BodyEditor::new(&fields);
        edit(&mut editor);
        String::from_utf8(editor.finish().unwrap_or_else(|| body.into())).unwrap()
    }

    #[test]
    fn a_change_sees_those_before_it() {
        let body = r#"{"a":1, "b":null, "c":{"d":2}}"#;
        let fields = JsonFields::scan(body.as_bytes()).unwrap();
        let mut editor = BodyEditor::new(&fields);
        assert_eq!((editor.get("a"), editor.get("b"), editor.get("x")), (Some(&b"1"[..]), None, None));
        editor.set("x", "7".into());
        editor.remove("a");
        editor.remove("nothing");
        assert_eq!((editor.get("a"), editor.value("x")), (None, Some(7.into())));
        editor.set_path("c.d", "3".into());
        assert_eq!(editor.get_path("c.d").as_deref(), Some(&b"3"[..]));
        assert_eq!(editor.finish().unwrap(), br#"{"b":null, "c":{"d":3},"x":7}"#);
    }

    #[test]
    fn paths_are_found_in_either_spelling() {
        let set = |body| edited(body, |editor| editor.set_path("generationConfig.topK", "1".into()));
        assert_eq!(set(r#"{"generationConfig":{"topK":5}}"#), r#"{"generationConfig":{"topK":1}}"#);
        assert_eq!(set(r#"{"generation_config":{"top_k":5}}"#), r#"{"generation_config":{"top_k":1}}"#);
        assert_eq!(set("{}"), r#"{"generationConfig":{"topK":1}}"#);
        assert_eq!(set(r#"{"generationConfig":[5]}"#), r#"{"generationConfig":[5]}"#);
        let removed = |body| edited(body, |editor| editor.remove_path("generationConfig.topK"));
        assert_eq!(removed(r#"{"generation_config":{"top_k":5, "x":1}}"#), r#"{"generation_config":{"x":1}}"#);
        assert_eq!(removed(r#"{"generationConfig":{"x":1}}"#), r#"{"generationConfig":{"x":1}}"#);
    }
}
