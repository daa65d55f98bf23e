//! What a person reads: an overview of several sets, and of each a header and a row a channel.

use std::fmt::Write as _;

use super::number::short;
use super::sets::Named;
use crate::freq;

/// More sets than this are told by the overview alone.
const MOST_TABLES: usize = 8;

/// The overview if there are several sets, and the tables if they are not too many.
pub(super) fn text(named: &[Named], of_spec: bool) -> String {
    let mut blocks = Vec::new();
    if of_spec || named.len() > 1 {
        blocks.push(overview(named));
    }
    if named.len() <= MOST_TABLES {
        blocks.extend(named.iter().map(|one| table(one, of_spec)));
    } else {
        blocks.push(format!("{} sets: --csv and --json have every channel\n", named.len()));
    }
    blocks.join("\n")
}

/// A row a set.
fn overview(named: &[Named]) -> String {
    let lengths = named.first().map(Named::lengths).unwrap_or_default();
    // A sweep over lengths gives every set its own: then a column has their name, not one's value.
    let common = named.iter().all(|one| one.lengths() == lengths);
    let mut header: Vec<String> = ["theta", "K", "highest", "lowest"].map(str::to_owned).to_vec();
    header.extend(lengths.iter().map(|(name, length)| match common {
        true => format!("> {length}"),
        false => format!("> {name}"),
    }));
    header.extend(["A", "vec_id", "set"].map(str::to_owned));
    let mut rows = vec![header];
    for one in named {
        let set = &one.set;
        let by_size = |pick: fn(f64, f64) -> f64| set.inv_freq.iter().copied().reduce(pick);
        let mut row = vec![
            set.theta.map_or("-".to_owned(), |theta| theta.to_string()),
            set.inv_freq.len().to_string(),
            by_size(f64::max).map_or(String::new(), short),
            by_size(f64::min).map_or(String::new(), short),
        ];
        row.extend(one.lengths().iter().map(|(_, length)| one.longer_than(*length).to_string()));
        row.push(short(set.attention_scale));
        row.push(set.vec_id[..12].to_owned());
        row.push(one.name.clone());
        rows.push(row);
    }
    aligned(&rows)
}

fn table(named: &Named, of_spec: bool) -> String {
    let set = &named.set;
    let mut out = String::new();
    if of_spec {
        let _ = writeln!(out, "{}", named.name);
    }
    let _ = writeln!(out, "{}", set.expression);
    let channels = set.inv_freq.len();
    let theta = set.theta.map_or(String::new(), |theta| format!(", theta {theta}"));
    let rounding = if set.rope_dtype == freq::RopeDtype::F32 {
        String::new()
    } else {
        format!(", rope_dtype {}", set.rope_dtype.name())
    };
    let _ = writeln!(
        out,
        "head_dim {}, {channels} frequencies, attention scale {}{theta}{rounding}",
        set.head_dim, set.attention_scale
    );
    let _ = writeln!(out, "expr_id {}\nvec_id  {}", set.expr_id, set.vec_id);
    if let Some(other) = &named.reference {
        let same = if other.set.vec_id == set.vec_id { " (the same set)" } else { "" };
        let _ = writeln!(out, "against {}{same}", other.name);
    }
    for check in &set.checks {
        let severity = match check.severity {
            freq::Severity::Warning => "warning",
            freq::Severity::Info => "info",
        };
        let _ = writeln!(out, "{severity}[{}]: {}", check.code, check.message);
    }
    out + &channels_of(named)
}

fn channels_of(named: &Named) -> String {
    let lengths = named.lengths();
    let mut header = vec!["k".to_owned(), "omega".to_owned(), "period".to_owned()];
    header.extend(lengths.iter().map(|(_, length)| format!("turns@{length}")));
    header.extend(named.reference.as_ref().map(|_| "ratio".to_owned()));
    header.push("note".to_owned());
    let mut rows = vec![header];
    for (k, w) in named.set.inv_freq.iter().enumerate() {
        let period = named.set.period(k);
        let mut row = vec![k.to_string(), format!("{w:.6e}"), short(period)];
        row.extend(lengths.iter().map(|(_, length)| short(named.turns(k, *length))));
        if named.reference.is_some() {
            row.push(named.ratio(k).map_or("-".to_owned(), |r| format!("x{}", short(r))));
        }
        let longer = lengths.iter().filter(|(_, length)| period > *length as f64);
        row.push(longer.map(|(name, _)| format!("> {name}")).collect::<Vec<_>>().join(", "));
        rows.push(row);
    }
    aligned(&rows)
}

/// Columns aligned to the right, but the last one to the left.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let last = rows[0].len() - 1;
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..last).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row[..last]
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:>width$}"))
            .collect();
        let line = format!("{}  {}", cells.join("  "), row[last]);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
