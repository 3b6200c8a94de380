//! The page `docs/conversion.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::dialect::{DIALECTS, title};
use crate::outcome::{self, Outcome};
use crate::surface::{SURFACES, Surface};
use crate::{Noun, answers};

const INTRODUCTION: &str = "\
# Conversion between APIs

A request whose API is that of its provider is forwarded, and only the fields that must change do ([the gateway](gateway.md)).
Every other request is converted: read as the API of its caller, and written in the dialect of its provider.
This page says what becomes of each part of a request and of an answer on that way.
A test writes it from the code (`crates/wire/tests/conversion/`), and fails when a part is lost without a word.

In the tables of requests a cell is one of these:

- **carried**: the provider gets it as the caller sent it.
- a path such as `generationConfig.topK`: it is translated, and this is where it arrives. `[]` stands for an element of a list.
- **note**: it is not sent, and the response header `x-compat-note` says so.
- *path* + **note**: it is sent, and the header names what is missing of it, or that it is a field of another API.
- **refused**: the caller gets an error, which the list below the table quotes.
- **default**: it is not sent, because the provider does it without being asked.
- **repeated**: the provider gets several requests, one for each choice.

The column of a provider whose API is the caller's own says what a conversion does where forwarding is not possible, for example because another provider of the same model speaks another dialect.
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for surface in SURFACES {
        write!(page, "\n## Requests of {}\n\n", surface.name()).unwrap();
        add_requests(surface, &surface.nouns(), &mut page);
    }
    page.push_str(
        "\n## Answers\n\nRows are parts of a provider's answer, columns the APIs in which it is returned, as paths of a whole answer.\n\
         The same is true of streams.\n\
         **note**: it is not returned, and `x-compat-note` says so, for a stream in a comment at its end where the API's clients read comments.\n\
         **-**: it is not content, and the API has no place for it.\n",
    );
    for dialect in DIALECTS {
        write!(page, "\n### Answers of {}\n\n", title(dialect)).unwrap();
        add_answers(dialect, &mut page);
    }
    page
}

fn add_requests(surface: Surface, nouns: &[Noun], page: &mut String) {
    let titles = DIALECTS.map(title);
    writeln!(page, "| part of the request | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len())).unwrap();
    let mut refusals = BTreeMap::<String, Vec<&str>>::new();
    for noun in nouns {
        let mut cells = Vec::new();
        for dialect in DIALECTS {
            let outcome = outcome::of_request(surface, noun, dialect);
            if let Outcome::Refused(message) = &outcome {
                let names = refusals.entry(message.clone()).or_default();
                names.extend((!names.contains(&noun.name)).then_some(noun.name));
            }
            cells.push(cell(&outcome));
        }
        writeln!(page, "| {} | {} |", noun.name, cells.join(" | ")).unwrap();
    }
    if !refusals.is_empty() {
        page.push_str("\nRefusals:\n\n");
    }
    for (message, names) in refusals {
        let message = message.trim_start_matches("Failed to deserialize the JSON body into the target type: ");
        writeln!(page, "- {}: \"{message}\"", names.join("; ")).unwrap();
    }
}

fn cell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Carried => "carried".into(),
        Outcome::Translated(paths) => code(paths),
        Outcome::PartlyTranslated(paths) => format!("{} + note", code(paths)),
        Outcome::Noted => "note".into(),
        Outcome::Refused(_) => "refused".into(),
        Outcome::Default => "default".into(),
        Outcome::Repeated => "repeated".into(),
        Outcome::Lost => "LOST".into(),
    }
}

fn code(paths: &[String]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}

fn add_answers(dialect: wire::upstream::Dialect, page: &mut String) {
    let names = SURFACES.map(Surface::name);
    writeln!(page, "| part of the answer | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len())).unwrap();
    for noun in answers::nouns() {
        for (_, answer) in noun.answers().filter(|(of, _)| *of == dialect) {
            let cells = SURFACES.map(|surface| match outcome::of_answer(surface, dialect, &answer) {
                (paths, false) if paths.is_empty() => "-".to_owned(),
                (paths, true) if paths.is_empty() => "note".to_owned(),
                (paths, true) => format!("{} + note", code(&paths)),
                (paths, false) => code(&paths),
            });
            writeln!(page, "| {} | {} |", noun.name, cells.join(" | ")).unwrap();
        }
    }
}
