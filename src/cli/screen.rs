//! Where an answer is shown: its width, its colours, and tables that fit it.

use super::common::Global;
use super::terminal::{is_capable, size};
use crate::run::status::Phase;

/// Fewest columns that tables are laid out for.
const NARROWEST: usize = 40;

/// What an answer is written for.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Whether it is a terminal.
    pub terminal: bool,
    /// Whether it has colours.
    pub color: bool,
}

/// The column of phases.
const STATE: &str = "state";

/// A table; the first `keys` columns are repeated where it is split.
#[derive(Default)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Columns that say what a row is of.
    pub keys: usize,
    /// The rows, each with a cell a column.
    pub rows: Vec<Vec<String>>,
    /// Phases by row, which colour the words in the column `state`.
    pub phases: Vec<Phase>,
}

impl Table {
    /// Takes away the columns that have nothing to say of any row, but for the keys.
    pub fn drop_empty(&mut self, nothing: &str) {
        let full = |i: usize| i < self.keys || self.rows.iter().any(|row| row[i] != nothing);
        let keep: Vec<bool> = (0..self.header.len()).map(full).collect();
        for row in std::iter::once(&mut self.header).chain(&mut self.rows) {
            let mut keep = keep.iter();
            row.retain(|_| *keep.next().expect("a cell a column"));
        }
    }
}

impl Screen {
    /// The standard output.
    pub fn of_stdout(global: &Global) -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
        let (width, height) = (number("COLUMNS"), number("LINES"));
        // Most shells do not export their variables.
        let (rows, columns) = size(std::io::stdout());
        Self {
            width: width.or(columns.map(usize::from)).unwrap_or(80).max(NARROWEST),
            height: height.or(rows.map(usize::from)).unwrap_or(24).max(10),
            terminal: is_capable(&std::io::stdout()),
            color: global.color_stdout(),
        }
    }

    /// A phase's word, coloured, padded to `width`.
    fn phase(self, phase: Phase, width: usize) -> String {
        let word = format!("{:<width$}", phase.word());
        let code = match phase {
            Phase::Running | Phase::Evaluating | Phase::Starting => "36",
            Phase::Done | Phase::Imported => "32",
            Phase::Failed | Phase::Diverged | Phase::Conflict => "31",
            Phase::Interrupted => "33",
            Phase::Todo | Phase::Evaluate => return word,
        };
        if self.color { format!("\x1b[{code}m{word}\x1b[0m") } else { word }
    }

    /// Appends a table in aligned columns; one too wide is split into blocks, each with the keys.
    pub fn table(self, out: &mut String, table: &Table) {
        let columns = table.header.len();
        let cells = |i: usize| table.rows.iter().map(move |row| &row[i]).chain([&table.header[i]]);
        let width_of = |i: usize| cells(i).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let keys: Vec<usize> = (0..table.keys).collect();
        let mut blocks = vec![keys.clone()];
        let mut width: usize = keys.iter().map(|&i| widths[i] + 2).sum();
        let keys_width = width;
        for (i, &column) in widths.iter().enumerate().skip(table.keys) {
            let last = blocks.last_mut().expect("starts with one");
            if width + column > self.width && last.len() > keys.len() {
                blocks.push(keys.iter().copied().chain([i]).collect());
                width = keys_width;
            } else {
                last.push(i);
            }
            width += column + 2;
        }
        for (number, block) in blocks.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            let phases = std::iter::once(None).chain(table.phases.iter().copied().map(Some));
            let phases = phases.chain(std::iter::repeat(None));
            let rows = std::iter::once(&table.header).chain(&table.rows);
            for (row, phase) in rows.zip(phases) {
                let cells = block.iter().map(|&i| match phase {
                    Some(phase) if table.header[i] == STATE => self.phase(phase, widths[i]),
                    _ => format!("{:<width$}", row[i], width = widths[i]),
                });
                let line = cells.collect::<Vec<_>>().join("  ");
                out.push_str(line.trim_end());
                out.push('\n');
            }
        }
    }

    /// Appends `label` and `text` in lines that fit, continued under the text.
    pub fn wrapped(self, out: &mut String, label: &str, text: &str) {
        let indent = label.chars().count();
        let mut line = label.to_owned();
        let mut column = indent;
        for word in text.split_whitespace() {
            let length = word.chars().count();
            if column > indent && column + 1 + length > self.width {
                out.push_str(line.trim_end());
                out.push('\n');
                line = " ".repeat(indent);
                column = indent;
            } else if column > indent {
                line.push(' ');
                column += 1;
            }
            line.push_str(word);
            column += length;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// A name in at most `most` characters: its beginning and its end, which tell it from others.
pub fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    let end = most / 2;
    let begin: String = name.chars().take(most - 1 - end).collect();
    let end: String = name.chars().skip(length - end).collect();
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Screen = Screen { width: 40, height: 24, terminal: false, color: false };

    #[test]
    fn a_table_too_wide_is_split_between_its_columns() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let table = Table {
            header: row(["config", "seed", "state", "PPL@2048", "PPL@16384"]),
            keys: 2,
            rows: vec![row(["geo_500k", "42", "interrupted", "6.826", "18.207"])],
            phases: vec![Phase::Interrupted],
        };
        let mut out = String::new();
        SCREEN.table(&mut out, &table);
        assert_eq!(
            out,
            "config    seed  state        PPL@2048\ngeo_500k  42    interrupted  6.826\n\n\
             config    seed  PPL@16384\ngeo_500k  42    18.207\n"
        );
        let mut out = String::new();
        Screen { color: true, ..SCREEN }.table(&mut out, &table);
        assert!(out.contains("  \x1b[33minterrupted\x1b[0m  6.826\n"), "{out:?}");
    }

    #[test]
    fn columns_without_content_are_left_out() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let (header, rows) = (row(["config", "step", "loss"]), vec![row(["-", "-", "1.5"])]);
        let mut table = Table { header, keys: 1, rows, phases: Vec::new() };
        table.drop_empty("-");
        assert_eq!(
            (table.header.join(" "), table.rows[0].join(" ")),
            ("config loss".into(), "- 1.5".into())
        );
    }

    #[test]
    fn text_is_wrapped_under_itself_and_names_keep_both_ends() {
        let mut out = String::new();
        SCREEN.wrapped(&mut out, "error: ", "one two three four five six seven eight nine ten");
        assert_eq!(out, "error: one two three four five six seven\n       eight nine ten\n");
        assert_eq!(shortened("anchpoly_p3.9_omf0.3_t500k", 11), "anchp…t500k");
        assert_eq!(shortened("geo", 11), "geo");
    }
}
