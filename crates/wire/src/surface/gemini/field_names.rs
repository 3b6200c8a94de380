//! Fields whose names may be in camel case or in snake case, as in the JSON of Protocol Buffers.

use crate::field_reader::{Field, Object};

/// The field with this name in camel case, or with the same name in snake case.
pub(super) fn camel_or_snake(object: &mut Object, camel: &str) -> Option<Field> {
    object.optional(camel).or_else(|| object.optional(&snake_case(camel)))
}

/// A name in camel case, in snake case.
pub(super) fn snake_case(camel: &str) -> String {
    camel.chars().fold(String::new(), |mut name, letter| {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
        name
    })
}
