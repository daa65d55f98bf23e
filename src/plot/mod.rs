//! Line charts: as SVG for a page or a file, and as text for a terminal.
//!
//! What is drawn does not depend on the machine, and nothing is told by colour alone: lines differ
//! in dashes and markers (SVG) or letters (text), so that a print in black reads the same.

mod scale;
mod svg;
mod text;

pub use scale::Scale;

/// A chart of lines over one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
    /// Heights that matter, across the whole chart.
    pub rules: Vec<Rule>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Quantity and unit.
    pub label: String,
    /// Linear or logarithmic.
    pub scale: Scale,
}

/// A line through points.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), by rising x. A point that its scale cannot show (not finite; not positive on a
    /// logarithmic one) interrupts the line.
    pub points: Vec<(f64, f64)>,
}

/// A named height.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is.
    pub label: String,
    /// Where.
    pub y: f64,
}

/// The least and greatest of what can be shown.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Extent {
    low: f64,
    high: f64,
}

impl Chart {
    /// The extent of the horizontal axis; that of a unit if there is nothing to show.
    fn x_extent(&self) -> Extent {
        self.extent(self.x.scale, |(x, _)| x, &[])
    }

    fn y_extent(&self) -> Extent {
        let rules: Vec<f64> = self.rules.iter().map(|rule| rule.y).collect();
        self.extent(self.y.scale, |(_, y)| y, &rules)
    }

    fn extent(&self, scale: Scale, of: impl Fn((f64, f64)) -> f64, more: &[f64]) -> Extent {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let shown = points.filter(|point| self.shows(**point)).map(|point| of(*point));
        let values = shown.chain(more.iter().copied().filter(|value| scale.shows(*value)));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high { scale.unit() } else { scale.widened(Extent { low, high }) }
    }

    fn shows(&self, (x, y): (f64, f64)) -> bool {
        self.x.scale.shows(x) && self.y.scale.shows(y)
    }
}

#[cfg(test)]
mod tests;
