//! Rules for the source text of the whole workspace: imports between crates and files, length of
//! files, width of comments, retired words.

mod arrows;
mod circles;
mod layout;
mod modules;
mod prose;
mod retired;
mod rust_text;
mod source;
