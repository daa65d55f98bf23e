//! `--require win:CONFIG[@LENGTH[TRANSFORM]]`: a verdict that a script or a paper depends on.

use super::column::Column;
use super::model::{Report, place};
use super::verdict::Verdict;
use super::words;

/// A verdict that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Config name.
    pub config: String,
    /// In this column, as tables name it (a bare length is as trained); `None` for the primary one.
    pub column: Option<Column>,
}

impl std::str::FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` is not a requirement like `win:CONFIG`, `win:CONFIG@16384` or \
                 `win:CONFIG@16384[TRANSFORM]`{why}"
            )
        };
        let claim = text.strip_prefix("win:").ok_or_else(|| wrong(""))?;
        // Neither sign can stand in a config's name, both can in a transform's.
        let (config, column) = match claim.split_once('@') {
            Some((config, column)) if !config.contains('[') => {
                let column = column.parse().map_err(|error| wrong(&format!(": {error}")))?;
                (config, Some(column))
            }
            _ => (claim, None),
        };
        if config.is_empty() {
            return Err(wrong(": it names no config"));
        }
        if config.contains('[') {
            return Err(wrong(": a transform stands after a length"));
        }
        Ok(Self { config: config.to_owned(), column })
    }
}

impl Report {
    /// Whether a requirement is met: the config's verdict is WIN in every experiment and sweep
    /// point of the report that has it.
    ///
    /// # Errors
    /// What is said instead, and why, one entry a place; or that no experiment has the config.
    pub fn meets(&self, requirement: &Requirement) -> Result<(), Vec<String>> {
        let Requirement { config, column } = requirement;
        let mut found = false;
        let mut unmet = Vec::new();
        for experiment in &self.experiments {
            for section in &experiment.sections {
                let Some(row) = section.rows.iter().find(|row| row.config == *config) else {
                    continue;
                };
                found = true;
                let column = column.clone().unwrap_or_else(|| section.primary());
                let place = place(&experiment.name, section.point.as_deref());
                let said = match row.cell(&column) {
                    Some(cell) if cell.verdict == Some(Verdict::Win) => continue,
                    Some(cell) => match cell.verdict {
                        Some(verdict) => format!("{verdict} ({})", cell.reason),
                        None => "it is the baseline".to_owned(),
                    },
                    None => {
                        let columns = words::list(&section.columns);
                        format!("the report has no such column (it has {columns})")
                    }
                };
                let tokens = column.tokens();
                unmet.push(format!("{place}: {config} at {tokens}: {said}, not WIN"));
            }
        }
        if !found {
            unmet.push(format!("no experiment of the report has a config `{config}`"));
        }
        if unmet.is_empty() { Ok(()) } else { Err(unmet) }
    }
}
