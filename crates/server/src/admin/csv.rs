//! Tables of comma-separated values (RFC 4180) that are safe to open with a spreadsheet.

/// A table of comma-separated values.
pub(super) struct CsvTable(String);

/// One cell.
pub(super) enum Cell<'a> {
    /// Text that people have chosen, such as the name of a key.
    Text(&'a str),
    Number(String),
}

impl CsvTable {
    /// A table with these titles of its columns.
    pub(super) fn new(titles: &[&str]) -> Self {
        Self(titles.join(",") + "\r\n")
    }

    pub(super) fn push<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        for (column, cell) in cells.into_iter().enumerate() {
            if column > 0 {
                self.0.push(',');
            }
            match cell {
                Cell::Number(number) => self.0.push_str(&number),
                Cell::Text(text) => self.push_text(text),
            }
        }
        self.0.push_str("\r\n");
    }

    /// Adds text. A spreadsheet takes a cell that begins with one of these characters for a
    /// formula, so an apostrophe comes before them.
    fn push_text(&mut self, text: &str) {
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let text = if is_formula { format!("'{text}") } else { text.to_owned() };
        if text.contains([',', '"', '\n', '\r']) || is_formula {
            self.0.push_str(&format!("\"{}\"", text.replace('"', "\"\"")));
        } else {
            self.0.push_str(&text);
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_be_formulas_or_break_their_row() {
        let mut table = CsvTable::new(&["name", "cost"]);
        for name in ["a", "=1+1", "-2", "@x", "+1", "a, \"b\"", ""] {
            table.push([Cell::Text(name), Cell::Number("-0.5".into())]);
        }
        let expected = [
            "name,cost",
            "a,-0.5",
            "\"'=1+1\",-0.5",
            "\"'-2\",-0.5",
            "\"'@x\",-0.5",
            "\"'+1\",-0.5",
            "\"a, \"\"b\"\"\",-0.5",
            ",-0.5",
            "",
        ];
        assert_eq!(table.into_text(), expected.join("\r\n"));
    }
}
