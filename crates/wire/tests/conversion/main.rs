//! The fate of each noun of a request and of an answer between the API of a caller and the dialect
//! of a provider. `docs/conversion.md` is this table; with `INSTA_UPDATE=always` the test
//! writes it. A new dialect is a line in `dialect::DIALECTS`, a new noun a line in its list.
#![forbid(unsafe_code)]

mod answers;
mod dialect;
mod document;
mod nouns;
mod outcome;
mod streams;
mod surface;

use std::path::Path;

use dialect::DIALECTS;
use outcome::Outcome;
use surface::SURFACES;

/// A request with a noun beside the same request without it. Both lack the model.
struct Noun {
    name: &'static str,
    without: serde_json::Value,
    with: serde_json::Value,
    /// The dialects whose providers do this without being asked.
    is_default_of: &'static [wire::upstream::Dialect],
}

#[test]
fn every_noun_of_a_request_is_carried_translated_noted_or_refused() {
    let mut lost = Vec::new();
    for surface in SURFACES {
        for noun in surface.nouns() {
            for dialect in DIALECTS {
                if let Outcome::Lost = outcome::of_request(surface, &noun, dialect) {
                    lost.push(format!("{}: {} to {}", surface.name(), noun.name, dialect::title(dialect)));
                }
            }
        }
    }
    assert!(lost.is_empty(), "lost without a note:\n{}", lost.join("\n"));
}

#[test]
fn every_noun_of_an_answer_is_returned_noted_or_known_to_have_no_place() {
    let mut unexpected = Vec::new();
    for noun in answers::nouns() {
        for (dialect, answer) in noun.answers() {
            for surface in SURFACES {
                let (returned, is_noted) = outcome::of_answer(surface, dialect, &answer);
                if (returned.is_empty() && !is_noted) != noun.is_dropped(surface) {
                    let pair = format!("{} from {} to {}", noun.name, dialect::title(dialect), surface.name());
                    unexpected.push(format!("{pair}: {returned:?}"));
                }
            }
        }
    }
    assert!(unexpected.is_empty(), "other than expected:\n{}", unexpected.join("\n"));
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conversion.md");
    let page = document::page();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/conversion.md is stale: INSTA_UPDATE=always cargo test -p wire --test conversion");
}
