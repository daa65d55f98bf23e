//! A chart as text: one line in braille dots, several by letters.

use std::fmt::Write as _;

use super::{Chart, Extent, Rule};

/// Room for the labels of the vertical axis.
const MARGIN: usize = 9;
/// A rule where nothing crosses it.
const RULE: char = '┄';
/// Where several lines have one cell.
const SHARED: char = '*';

impl Chart {
    /// The chart in `width` columns, `height` rows for the lines; legend and axes besides.
    ///
    /// Every line ends with a line feed. Widths below 40 are taken as 40, heights below 5 as 5.
    #[must_use]
    pub fn text(&self, width: usize, height: usize) -> String {
        let (columns, rows) = (width.max(40) - MARGIN - 1, height.max(5));
        let (x, y) = (self.x_extent(), self.y_extent());
        let mut cells = vec![vec![' '; columns]; rows];
        self.draw_rules(&mut cells, y);
        match self.series.as_slice() {
            [_] => self.draw_dots(&mut cells, x, y),
            _ => self.draw_letters(&mut cells, x, y),
        }
        let unnamed = self.label_rules(&mut cells, y);
        let mut out = format!("{}\n", self.y.label);
        let mut labels = vec![String::new(); rows];
        for (value, label) in self.y.ticks(y, rows / 2) {
            labels[row_of(self.y.scale.place(value, y), rows)] = label;
        }
        for (label, row) in labels.iter().zip(&cells) {
            let row: String = row.iter().collect();
            let _ = writeln!(out, "{}", format!("{label:>8} │{row}").trim_end());
        }
        let _ = writeln!(out, "{:>8} └{}", "", "─".repeat(columns));
        let mut axis: Vec<char> = vec![' '; columns + MARGIN + 1];
        for (value, label) in self.x.ticks(x, columns / 12) {
            let at = MARGIN + 1 + column_of(self.x.scale.place(value, x), columns);
            let start = at.saturating_sub(label.len() / 2).min(axis.len() - label.len());
            for (i, c) in label.chars().enumerate() {
                axis[start + i] = c;
            }
        }
        let axis: String = axis.into_iter().collect();
        let _ =
            writeln!(out, "{}\n{:>width$}", axis.trim_end(), self.x.label, width = width.max(40));
        if self.series.len() > 1 {
            for (i, series) in self.series.iter().enumerate() {
                let _ = writeln!(out, "  {}  {}", letter(i), series.name);
            }
            let _ = writeln!(out, "  {SHARED}  several of them");
        }
        for rule in unnamed {
            let _ = writeln!(out, "  {RULE}  {} at {:.3e}", rule.label, rule.y);
        }
        out
    }

    /// Letters of the lines' points; the first line's is on top of a rule, never of another line.
    fn draw_letters(&self, cells: &mut [Vec<char>], x: Extent, y: Extent) {
        let (rows, columns) = (cells.len(), cells[0].len());
        for (i, series) in self.series.iter().enumerate() {
            for point in series.line.iter().filter(|point| self.shows(**point)) {
                let column = column_of(self.x.scale.place(point.0, x), columns);
                let cell = &mut cells[row_of(self.y.scale.place(point.1, y), rows)][column];
                let free = !(cell.is_ascii_alphanumeric() || *cell == SHARED);
                *cell = if free || *cell == letter(i) { letter(i) } else { SHARED };
            }
        }
    }

    /// The one line in dots of two by four to a cell.
    fn draw_dots(&self, cells: &mut [Vec<char>], x: Extent, y: Extent) {
        const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (rows, columns) = (cells.len(), cells[0].len());
        let at = |point: &(f64, f64)| {
            self.shows(*point).then(|| {
                let across = self.x.scale.place(point.0, x) * (2 * columns - 1) as f64;
                let down = (1.0 - self.y.scale.place(point.1, y)) * (4 * rows - 1) as f64;
                (across, down)
            })
        };
        let mut dots = vec![vec![0u32; columns]; rows];
        let mut dot = |across: f64, down: f64| {
            let (across, down) = (across.round() as usize, down.round() as usize);
            dots[down / 4][across / 2] |= DOTS[down % 4][across % 2];
        };
        let places: Vec<Option<(f64, f64)>> = self.series[0].line.iter().map(at).collect();
        for pair in places.windows(2) {
            if let [Some(from), Some(to)] = pair {
                let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
                for i in 0..=steps as usize {
                    let part = i as f64 / steps;
                    dot(from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
                }
            }
        }
        places.iter().flatten().for_each(|(across, down)| dot(*across, *down));
        for (cells, dots) in cells.iter_mut().zip(&dots) {
            for (cell, dots) in cells.iter_mut().zip(dots) {
                if *dots != 0 {
                    *cell = char::from_u32(0x2800 + dots).unwrap_or(SHARED);
                }
            }
        }
    }

    fn draw_rules(&self, cells: &mut [Vec<char>], y: Extent) {
        let rows = cells.len();
        for rule in self.rules.iter().filter(|rule| self.y.scale.shows(rule.y)) {
            let row = &mut cells[row_of(self.y.scale.place(rule.y, y), rows)];
            row.fill(RULE);
        }
    }

    /// Names of the rules where no line is in the way: at the right, else at the left. The rules
    /// that have no such place, or whose row another one's name has taken, come back.
    fn label_rules(&self, cells: &mut [Vec<char>], y: Extent) -> Vec<&Rule> {
        let rows = cells.len();
        let mut unnamed = Vec::new();
        for rule in self.rules.iter().filter(|rule| self.y.scale.shows(rule.y)) {
            let row = &mut cells[row_of(self.y.scale.place(rule.y, y), rows)];
            let label: Vec<char> = format!(" {} ", rule.label).chars().collect();
            let starts =
                row.len().checked_sub(label.len() + 2).map_or(vec![], |right| vec![right, 2]);
            let free =
                |start: &usize| row[*start..*start + label.len()].iter().all(|cell| *cell == RULE);
            match starts.into_iter().find(free) {
                Some(start) => row[start..start + label.len()].copy_from_slice(&label),
                None => unnamed.push(rule),
            }
        }
        unnamed
    }
}

/// a to z, A to Z, 0 to 9, and again.
fn letter(index: usize) -> char {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    char::from(LETTERS[index % LETTERS.len()])
}

fn column_of(place: f64, columns: usize) -> usize {
    (place * (columns - 1) as f64).round() as usize
}

fn row_of(place: f64, rows: usize) -> usize {
    ((1.0 - place) * (rows - 1) as f64).round() as usize
}
