//! What lies beside the records as tables.

use super::{ChunkPairs, Machine, Noise, PositionTable};
use crate::report::table::Table;
use crate::report::words;

fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        header: header.iter().map(|h| (*h).to_owned()).collect(),
        rows,
        num_keys: 1,
        num_tail: 0,
    }
}

impl PositionTable {
    /// One row a config, one column a range of positions: `loss ± std (gap)`.
    pub(in crate::report) fn table(&self) -> Table {
        let ranges = self.buckets.iter().map(|(from, to)| format!("[{from}, {to})"));
        let header: Vec<String> = std::iter::once("config".to_owned()).chain(ranges).collect();
        let row = |row: &super::PositionRow| {
            let cell = |bucket: &super::Bucket| {
                let gap = bucket.gap.map(|gap| format!(" ({gap:+.3})")).unwrap_or_default();
                format!("{}{gap}", words::mean_pm_std(Some(bucket.mean), bucket.std))
            };
            std::iter::once(row.config.clone()).chain(row.buckets.iter().map(cell)).collect()
        };
        let rows = self.rows.iter().map(row).collect();
        Table { header, rows, num_keys: 1, num_tail: 0 }
    }
}

/// One row a compared config.
pub(in crate::report) fn of_chunk_pairs(pairs: &[ChunkPairs]) -> Table {
    let row = |pair: &ChunkPairs| {
        let interval = format!("{} to {}", words::number(pair.low), words::number(pair.high));
        let better = format!("{}/{}", pair.better, pair.chunks);
        vec![pair.config.clone(), pair.baseline.clone(), better, words::number(pair.mean), interval]
    };
    table(
        &["config", "against", "chunks better", "difference, nats", "95 % interval over chunks"],
        pairs.iter().map(row).collect(),
    )
}

/// One row a config with results of two seeds.
pub(in crate::report) fn of_noise(noise: &[Noise]) -> Table {
    let percent = |std: f64| format!("{:.2} %", 100.0 * std);
    let or = |std: Option<f64>| std.map_or("not measured".to_owned(), percent);
    let row =
        |one: &Noise| vec![one.config.clone(), percent(one.seed), or(one.rerun), or(one.chunk)];
    table(
        &["config", "seeds", "re-runs of a seed", "chunks of the text"],
        noise.iter().map(row).collect(),
    )
}

/// One row a kind of machine.
pub(in crate::report) fn of_machines(machines: &[Machine]) -> Table {
    let row = |one: &Machine| vec![one.device.clone(), one.versions.clone(), one.runs.to_string()];
    table(&["device", "versions", "runs"], machines.iter().map(row).collect())
}
