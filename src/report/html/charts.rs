//! The charts of a section.

use crate::plot::{Axis, Bar, Chart, Scale, Series};
use crate::report::column::Column;
use crate::report::detail::{Detail, PositionTable};
use crate::report::model::{Experiment, Row, Section};
use crate::results::Status;
use crate::stats::paired_t;

/// Configs in a chart, at most.
const MOST: usize = 12;

/// The rows that charts show, in declared order: those looked into, or the first of the ranking.
pub(super) fn shown(section: &Section) -> Vec<&Row> {
    let wanted = |row: &&Row| match &section.detail {
        Some(detail) => detail.configs.contains(&row.config),
        None => section.ranking.iter().take(MOST).any(|&i| section.rows[i].config == row.config),
    };
    section.rows.iter().filter(wanted).collect()
}

fn lengths_axis(columns: &[&Column]) -> Axis {
    let ticks = columns.iter().map(|column| column.length as f64).collect();
    Axis { ticks, ..Axis::new("evaluation length, tokens", Scale::Log) }
}

/// The columns of one transform (`None`: as trained).
pub(super) fn columns<'a>(section: &'a Section, transform: Option<&str>) -> Vec<&'a Column> {
    section.columns.iter().filter(|column| column.transform.as_deref() == transform).collect()
}

/// Every seed over length, beside each other, with the mean and its 95 % t interval.
pub(super) fn seeds(experiment: &Experiment, section: &Section, transform: Option<&str>) -> Chart {
    let columns = columns(section, transform);
    let rows = shown(section);
    let step = 0.5 / rows.len().max(1) as f64;
    let mut cut = false;
    let series = rows.iter().enumerate().map(|(i, row)| {
        // Beside each other within half an octave.
        let beside = 2f64.powf((i as f64 - (rows.len() - 1) as f64 / 2.0) * step);
        let mut series = Series { name: row.config.clone(), ..Series::default() };
        for column in &columns {
            let x = column.length as f64 * beside;
            let values = values(experiment, section, row, column);
            series.dots.extend(values.iter().map(|ppl| (x, *ppl)));
            let Some(cell) = row.cell(column) else { continue };
            let Some(y) = cell.mean else { continue };
            // The t interval of a mean is that of differences from zero.
            let interval = paired_t(&values, crate::report::LEVEL);
            let (low, high) = interval.map_or((y, y), |t| (t.low, t.high));
            // No perplexity is below 1: an interval that is ends at the lowest value instead.
            let lowest = values.iter().copied().fold(y, f64::min);
            cut |= low < 1.0;
            let low = if low >= 1.0 { low } else { lowest };
            series.bars.push(Bar { x, low, y, high });
        }
        series
    });
    let series = series.collect();
    let note = if cut { " (below 1: to the lowest seed)" } else { "" };
    let title = format!("Perplexity of every seed, mean and 95 % interval{note}");
    Chart {
        title: titled(&title, transform),
        x: lengths_axis(&columns),
        y: Axis::new("perplexity", Scale::Log),
        series,
        rules: Vec::new(),
    }
}

fn titled(title: &str, transform: Option<&str>) -> String {
    transform.map_or(title.to_owned(), |name| format!("{title} [{name}]"))
}

/// The perplexities of a row's declared seeds that are in its mean.
fn values(experiment: &Experiment, section: &Section, row: &Row, column: &Column) -> Vec<f64> {
    let of = |seed: &u64| {
        experiment
            .runs
            .iter()
            .find(|run| {
                run.attempt == 1
                    && run.seed == *seed
                    && run.config == row.config
                    && run.point == section.point
                    && run.eval_len == Some(column.length)
                    && run.transform == column.transform
                    && matches!(run.status, Status::Done | Status::Imported)
            })
            .and_then(|run| run.ppl)
    };
    let found: Vec<f64> = experiment.seeds.iter().filter_map(of).collect();
    // Where some are there but in no mean (other chunks, another protocol), the mean stands alone.
    if row.cell(column).is_some_and(|cell| cell.n == found.len()) { found } else { Vec::new() }
}

/// Mean perplexity over length, all transforms.
pub(super) fn lengths(section: &Section) -> Chart {
    let transforms = section.shown_transforms();
    let mut series = Vec::new();
    for transform in &transforms {
        let columns = columns(section, *transform);
        for row in shown(section) {
            let point = |column: &&Column| Some((column.length as f64, row.cell(column)?.mean?));
            let name = titled(&row.config, *transform);
            series.push(Series::line(name, columns.iter().filter_map(point).collect()));
        }
    }
    let all: Vec<&Column> = columns(section, transforms.first().copied().flatten());
    Chart {
        title: "Mean perplexity by evaluation length".to_owned(),
        x: lengths_axis(&all),
        y: Axis::new("perplexity", Scale::Log),
        series,
        rules: Vec::new(),
    }
}

/// Training loss over steps.
pub(super) fn training(detail: &Detail) -> Option<Chart> {
    let curves = detail.curves.iter();
    let series: Vec<Series> =
        curves.map(|curve| Series::line(curve.config.clone(), curve.points.clone())).collect();
    let window = detail.curves.iter().map(|curve| curve.window).max()?;
    let mean = if window > 1 { format!(" and {window} steps") } else { String::new() };
    Some(Chart {
        title: format!("Training loss, mean over seeds{mean}"),
        x: Axis::new("step", Scale::Linear),
        y: Axis::new("cross-entropy, nats a token", Scale::Linear),
        series,
        rules: Vec::new(),
    })
}

/// The frequencies over the channels.
pub(super) fn sets(detail: &Detail) -> Option<Chart> {
    let series: Vec<Series> = detail
        .sets
        .iter()
        .map(|(name, set)| {
            let line = set.iter().enumerate().map(|(k, w)| (k as f64, *w)).collect();
            Series::line(name.clone(), line)
        })
        .collect();
    (!series.is_empty()).then(|| Chart {
        title: "Frequency sets as trained".to_owned(),
        x: Axis::new("channel k", Scale::Linear),
        y: Axis::new("frequency, radians a position", Scale::Log),
        series,
        rules: Vec::new(),
    })
}

/// The loss over positions of one column.
pub(super) fn positions(table: &PositionTable) -> Chart {
    let middle = |(from, to): &(u64, u64)| match from {
        0 => *to as f64 / 2.0,
        from => (*from as f64 * *to as f64).sqrt(),
    };
    let series = table.rows.iter().map(|row| {
        let points = table.buckets.iter().zip(&row.buckets);
        Series::line(row.config.clone(), points.map(|(b, l)| (middle(b), l.mean)).collect())
    });
    // The last range ends one short of a power of two: its name is the start of the next.
    let ticks = table.buckets.iter().map(|(from, _)| *from as f64).filter(|from| *from > 0.0);
    Chart {
        title: format!("Loss by position, evaluated at {}", table.column.tokens()),
        x: Axis { ticks: ticks.collect(), ..Axis::new("position, tokens", Scale::Log) },
        y: Axis::new("cross-entropy, nats a token", Scale::Linear),
        series: series.collect(),
        rules: Vec::new(),
    }
}
