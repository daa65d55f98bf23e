//! `--require win:CONFIG[@LENGTH]`: a verdict that a script or a paper depends on.

use super::model::{Report, place};
use super::verdict::Verdict;

/// A verdict that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Config name.
    pub config: String,
    /// At this length; `None` for the primary one.
    pub length: Option<u64>,
}

impl std::str::FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a requirement like `win:CONFIG` or `win:CONFIG@16384`");
        let claim = text.strip_prefix("win:").ok_or_else(wrong)?;
        let (config, length) = match claim.rsplit_once('@') {
            Some((config, length)) => (config, Some(length.parse().map_err(|_| wrong())?)),
            None => (claim, None),
        };
        if config.is_empty() {
            return Err(wrong());
        }
        Ok(Self { config: config.to_owned(), length })
    }
}

impl Report {
    /// Whether a requirement is met: the config's verdict is WIN in every experiment and sweep
    /// point of the report that has it.
    ///
    /// # Errors
    /// What is said instead, and why, one entry a place; or that no experiment has the config.
    pub fn meets(&self, requirement: &Requirement) -> Result<(), Vec<String>> {
        let Requirement { config, length } = requirement;
        let mut found = false;
        let mut unmet = Vec::new();
        for experiment in &self.experiments {
            for section in &experiment.sections {
                let Some(row) = section.rows.iter().find(|row| row.config == *config) else {
                    continue;
                };
                found = true;
                let length = length.unwrap_or(section.primary_length);
                let place = place(&experiment.name, section.point.as_deref());
                let said = match row.cells.iter().find(|cell| cell.length == length) {
                    Some(cell) if cell.verdict == Some(Verdict::Win) => continue,
                    Some(cell) => match cell.verdict {
                        Some(verdict) => format!("{verdict} ({})", cell.reason),
                        None => "it is the baseline".to_owned(),
                    },
                    None => "that length is not in the report".to_owned(),
                };
                unmet.push(format!("{place}: {config} at {length} tokens: {said}, not WIN"));
            }
        }
        if !found {
            unmet.push(format!("no experiment of the report has a config `{config}`"));
        }
        if unmet.is_empty() { Ok(()) } else { Err(unmet) }
    }
}
