//! The output of commands that list things: an aligned table, JSON, or CSV.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::Value;

/// The format of a command's output
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    Text,
    Json,
    Csv,
}

impl OutputArgs {
    pub(crate) fn format(self) -> ReportFormat {
        if self.json { ReportFormat::Json } else { ReportFormat::Text }
    }

    /// Prints what a command did: as `json` on standard output, else as `text` on standard error.
    ///
    /// # Errors
    /// Standard output that cannot be written.
    pub(crate) fn confirm(self, text: &str, json: &Value) -> Result<()> {
        if self.json {
            writeln!(io::stdout(), "{json}")?;
        } else {
            eprintln!("{text}");
        }
        Ok(())
    }
}

/// Rows under titles.
pub(crate) struct Report {
    /// The titles, and whether their columns are numbers.
    columns: Vec<(&'static str, bool)>,
    /// The cells of each row, and its object in JSON; `None` for a row that continues the one
    /// before.
    rows: Vec<(Vec<String>, Option<Value>)>,
}

impl Report {
    /// A report with these columns. A title that begins with `#` is that of numbers.
    pub(crate) fn new(titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_prefix('#') {
            Some(title) => (title, true),
            None => (*title, false),
        };
        Self { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row, with as many cells as there are titles, and its object in JSON.
    pub(crate) fn push(&mut self, cells: Vec<String>, json: Value) {
        self.push_row(cells, Some(json));
    }

    /// Adds a row that continues the one before, and has no object of its own in JSON.
    pub(crate) fn push_continued(&mut self, cells: Vec<String>) {
        self.push_row(cells, None);
    }

    fn push_row(&mut self, cells: Vec<String>, json: Option<Value>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push((cells, json));
    }

    /// Prints the report to standard output.
    ///
    /// # Errors
    /// Standard output that cannot be written.
    pub(crate) fn print(&self, format: ReportFormat) -> Result<()> {
        let text = match format {
            ReportFormat::Text => self.table(),
            ReportFormat::Json => {
                let rows: Vec<&Value> = self.rows.iter().filter_map(|(_, json)| json.as_ref()).collect();
                serde_json::to_string_pretty(&rows)? + "\n"
            }
            ReportFormat::Csv => self.csv(),
        };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn table(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let lines = || std::iter::once(&titles).chain(self.rows.iter().map(|(cells, _)| cells));
        let width = |column: usize| lines().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for cells in lines() {
            let mut line = String::new();
            for ((cell, &width), (_, is_number)) in cells.iter().zip(&widths).zip(&self.columns) {
                line.push_str(&if *is_number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") });
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn csv(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let lines = std::iter::once(&titles).chain(self.rows.iter().map(|(cells, _)| cells));
        let quoted = |cell: &String| {
            if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
        };
        lines.map(|cells| cells.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut report = Report::new(&["name", "#USD", "state"]);
        report.push(vec!["a".into(), "12.5".into(), String::new()], json!({}));
        report.push(vec!["größer".into(), "3".into(), "in use".into()], json!({}));
        assert_eq!(report.table(), "name     USD  state\na       12.5\ngrößer     3  in use\n");
    }

    #[test]
    fn csv_quotes_what_would_break_it() {
        let mut report = Report::new(&["name", "#USD"]);
        report.push(vec!["a, \"b\"".into(), "1".into()], json!({}));
        assert_eq!(report.csv(), "name,USD\n\"a, \"\"b\"\"\",1\n");
    }
}
