//! Charts of lines, points and intervals: as SVG for a page or a file, and as text for a terminal.
//!
//! What is drawn does not depend on the machine, and nothing is told by colour alone: lines differ
//! in dashes and markers (SVG) or letters (text), so that a print in black reads the same.

mod scale;
mod svg;
mod text;

pub use scale::Scale;

/// A chart of series over one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The series, in the order of the legend.
    pub series: Vec<Series>,
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
    /// The values that are labelled; empty: round ones.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis with round values as labels.
    #[must_use]
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale, ticks: Vec::new() }
    }

    /// The labelled values inside an extent; about `wanted`, if they are not given.
    fn ticks(&self, extent: Extent, wanted: usize) -> Vec<(f64, String)> {
        if self.ticks.is_empty() {
            return self.scale.ticks(extent, wanted);
        }
        let inside =
            |tick: &&f64| self.scale.shows(**tick) && (extent.low..=extent.high).contains(*tick);
        self.ticks.iter().filter(inside).map(|tick| (*tick, format!("{tick}"))).collect()
    }
}

/// What has one name in the legend: a line, single values, intervals.
///
/// A point that a scale cannot show (not finite; not positive on a logarithmic one) is left out, and
/// interrupts the line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// A line through (x, y), by rising x.
    pub line: Vec<(f64, f64)>,
    /// Single values, not connected. A chart as text leaves them out.
    pub dots: Vec<(f64, f64)>,
    /// Intervals. A chart as text leaves them out.
    pub bars: Vec<Bar>,
}

impl Series {
    /// A line alone.
    #[must_use]
    pub fn line(name: impl Into<String>, line: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), line, ..Self::default() }
    }
}

/// A value with an interval around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Where on the horizontal axis.
    pub x: f64,
    /// Lower end; the same as the value where there is no interval.
    pub low: f64,
    /// The value.
    pub y: f64,
    /// Upper end.
    pub high: f64,
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
        self.clear_of_frame(self.x.scale, self.extent(self.x.scale, |(x, _)| x, &[]))
    }

    fn y_extent(&self) -> Extent {
        let rules: Vec<f64> = self.rules.iter().map(|rule| rule.y).collect();
        self.clear_of_frame(self.y.scale, self.extent(self.y.scale, |(_, y)| y, &rules))
    }

    /// Room around values and intervals, which stand alone.
    fn clear_of_frame(&self, scale: Scale, extent: Extent) -> Extent {
        let alone = |series: &Series| !(series.dots.is_empty() && series.bars.is_empty());
        if self.series.iter().any(alone) { scale.padded(extent, 0.04) } else { extent }
    }

    fn extent(&self, scale: Scale, of: impl Fn((f64, f64)) -> f64, more: &[f64]) -> Extent {
        let points = self.series.iter().flat_map(|series| {
            let ends =
                series.bars.iter().flat_map(|bar| [bar.low, bar.y, bar.high].map(|y| (bar.x, y)));
            series.line.iter().chain(&series.dots).copied().chain(ends)
        });
        let shown = points.filter(|point| self.shows(*point)).map(of);
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
