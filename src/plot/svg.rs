//! A chart as SVG: one element that stands alone in a file or inline in a page.

use std::fmt::Write as _;

use super::{Bar, Chart, Extent, Series};

const WIDTH: f64 = 860.0;
/// The box of the lines.
const PLOT: Box2 = Box2 { left: 76.0, top: 46.0, width: 756.0, height: 400.0 };
const LEGEND_TOP: f64 = 510.0;
const LEGEND_ROW: f64 = 20.0;
/// Width of a letter of the legend, about, at its font size of 13.
const LETTER: f64 = 7.0;
const SWATCH: f64 = 40.0;

struct Box2 {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Colours: classes `c0` to `c6` of [`STYLE`].
const COLOURS: usize = 7;
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];
const MARKERS: usize = 5;

/// Colours that readers with any colour vision tell apart (Okabe and Ito 2008, three of them darker
/// so that each has a contrast of 3 to white), and lighter ones where the reader's choice is dark. Plain classes, since
/// converters to other formats know no CSS variables.
const STYLE: &str = "\
.xp-chart text{fill:#1f2328;font-family:system-ui,sans-serif;font-size:13px}\
.xp-chart .title{font-size:15px;font-weight:600}\
.xp-chart .paper{fill:#fff}\
.xp-chart .grid{stroke:#d4d8dd;stroke-width:1}\
.xp-chart .frame{stroke:#1f2328;stroke-width:1;fill:none}\
.xp-chart .rule{stroke:#1f2328;stroke-width:1.2;stroke-dasharray:1 4;stroke-linecap:round}\
.xp-chart .halo{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}\
.xp-chart .dot{fill:none;stroke-width:1.2;opacity:.75}\
.xp-chart .line{fill:none;stroke-width:2;stroke-linejoin:round}\
.xp-chart .c0{stroke:#0072b2}.xp-chart .m0{fill:#0072b2}\
.xp-chart .c1{stroke:#d55e00}.xp-chart .m1{fill:#d55e00}\
.xp-chart .c2{stroke:#009e73}.xp-chart .m2{fill:#009e73}\
.xp-chart .c3{stroke:#cc79a7}.xp-chart .m3{fill:#cc79a7}\
.xp-chart .c4{stroke:#b87e00}.xp-chart .m4{fill:#b87e00}\
.xp-chart .c5{stroke:#3d97cc}.xp-chart .m5{fill:#3d97cc}\
.xp-chart .c6{stroke:#1f2328}.xp-chart .m6{fill:#1f2328}\
@media (prefers-color-scheme:dark){\
.xp-chart text{fill:#e6e8eb}.xp-chart .paper{fill:#16191d}.xp-chart .grid{stroke:#3a4048}\
.xp-chart .frame,.xp-chart .rule{stroke:#e6e8eb}.xp-chart .halo{stroke:#16191d}\
.xp-chart .c0{stroke:#3f9bdc}.xp-chart .m0{fill:#3f9bdc}\
.xp-chart .c1{stroke:#f0803c}.xp-chart .m1{fill:#f0803c}\
.xp-chart .c2{stroke:#2fc498}.xp-chart .m2{fill:#2fc498}\
.xp-chart .c3{stroke:#e39ac4}.xp-chart .m3{fill:#e39ac4}\
.xp-chart .c4{stroke:#e6b84c}.xp-chart .m4{fill:#e6b84c}\
.xp-chart .c5{stroke:#9ad4f5}.xp-chart .m5{fill:#9ad4f5}\
.xp-chart .c6{stroke:#e6e8eb}.xp-chart .m6{fill:#e6e8eb}}";

impl Chart {
    /// The chart as an `<svg>` element of its own.
    #[must_use]
    pub fn svg(&self) -> String {
        let (x, y) = (self.x_extent(), self.y_extent());
        let (legend, height) = self.legend();
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"xp-chart\" role=\"img\" \
             viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             aria-label=\"{0}\">\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"title\" x=\"{1}\" y=\"28\">{0}</text>\n",
            escaped(&self.title),
            PLOT.left
        );
        self.axes(&mut out, x, y);
        let labels = self.rules(&mut out, x, y);
        for (i, series) in self.series.iter().enumerate() {
            self.series(&mut out, i, series, x, y);
        }
        out.push_str(&labels);
        out.push_str(&legend);
        out.push_str("</svg>\n");
        out
    }

    fn at(&self, (px, py): (f64, f64), x: Extent, y: Extent) -> (f64, f64) {
        (
            PLOT.left + self.x.scale.place(px, x) * PLOT.width,
            PLOT.top + (1.0 - self.y.scale.place(py, y)) * PLOT.height,
        )
    }

    fn axes(&self, out: &mut String, x: Extent, y: Extent) {
        let (right, bottom) = (PLOT.left + PLOT.width, PLOT.top + PLOT.height);
        for (value, label) in self.y.ticks(y, 8) {
            let (_, at) = self.at((x.low, value), x, y);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{}\" x2=\"{right}\" y1=\"{at:.2}\" y2=\"{at:.2}\"/>\
                 <text text-anchor=\"end\" x=\"{}\" y=\"{:.2}\">{label}</text>",
                PLOT.left,
                PLOT.left - 8.0,
                at + 4.5
            );
        }
        for (value, label) in self.x.ticks(x, 10) {
            let (at, _) = self.at((value, y.low), x, y);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{at:.2}\" x2=\"{at:.2}\" y1=\"{}\" y2=\"{bottom}\"/>\
                 <text text-anchor=\"middle\" x=\"{at:.2}\" y=\"{}\">{label}</text>",
                PLOT.top,
                bottom + 18.0
            );
        }
        let middle = PLOT.top + PLOT.height / 2.0;
        let _ = writeln!(
            out,
            "<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n\
             <text text-anchor=\"middle\" x=\"{}\" y=\"{}\">{}</text>\n\
             <text text-anchor=\"middle\" transform=\"translate(20 {middle}) rotate(-90)\">{}</text>",
            PLOT.left,
            PLOT.top,
            PLOT.width,
            PLOT.height,
            PLOT.left + PLOT.width / 2.0,
            bottom + 40.0,
            escaped(&self.x.label),
            escaped(&self.y.label)
        );
    }

    /// The rules; their names come back, to be written over the lines.
    fn rules(&self, out: &mut String, x: Extent, y: Extent) -> String {
        let mut labels = String::new();
        for rule in self.rules.iter().filter(|rule| self.y.scale.shows(rule.y)) {
            let at = PLOT.top + (1.0 - self.y.scale.place(rule.y, y)) * PLOT.height;
            let _ = writeln!(
                out,
                "<line class=\"rule\" x1=\"{}\" x2=\"{}\" y1=\"{at:.2}\" y2=\"{at:.2}\"/>",
                PLOT.left,
                PLOT.left + PLOT.width,
            );
            // At the end where fewer lines pass; what crosses is kept apart by a halo.
            let width = rule.label.chars().count() as f64 * LETTER;
            let (start, end) = (PLOT.left + 8.0, PLOT.left + PLOT.width - 8.0);
            let passing = |from: f64, to: f64| {
                self.series.iter().filter(|one| self.passes(one, (from, to), at, x, y)).count()
            };
            let right = passing(end - width, end) < passing(start, start + width);
            let place = if right {
                format!("text-anchor=\"end\" x=\"{end}\"")
            } else {
                format!("x=\"{start}\"")
            };
            let _ = writeln!(
                labels,
                "<text class=\"halo\" {place} y=\"{:.2}\">{}</text>",
                at - 5.0,
                escaped(&rule.label)
            );
        }
        labels
    }

    /// Whether a line passes the box of a name from `from` to `to` that stands on the height `at`.
    fn passes(
        &self,
        series: &Series,
        (from, to): (f64, f64),
        at: f64,
        x: Extent,
        y: Extent,
    ) -> bool {
        const STEPS: u32 = 16;
        const HEIGHT: f64 = 20.0;
        series.line.windows(2).filter(|pair| pair.iter().all(|point| self.shows(*point))).any(
            |pair| {
                let (a, b) = (self.at(pair[0], x, y), self.at(pair[1], x, y));
                (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS)).any(|part| {
                    let (px, py) = (a.0 + (b.0 - a.0) * part, a.1 + (b.1 - a.1) * part);
                    (from..=to).contains(&px) && (at - HEIGHT..=at + 2.0).contains(&py)
                })
            },
        )
    }

    fn series(&self, out: &mut String, index: usize, series: &Series, x: Extent, y: Extent) {
        let _ = writeln!(out, "<g><title>{}</title>", escaped(&series.name));
        let colour = index % COLOURS;
        for dot in series.dots.iter().filter(|dot| self.shows(**dot)) {
            let (px, py) = self.at(*dot, x, y);
            let _ = writeln!(
                out,
                "<circle class=\"dot c{colour}\" cx=\"{px:.2}\" cy=\"{py:.2}\" r=\"3.2\"/>"
            );
        }
        for bar in &series.bars {
            self.bar(out, index, bar, x, y);
        }
        let places: Vec<Option<(f64, f64)>> = series
            .line
            .iter()
            .map(|point| self.shows(*point).then(|| self.at(*point, x, y)))
            .collect();
        let mut path = String::new();
        let mut broken = true;
        for place in &places {
            if let Some((x, y)) = place {
                let _ = write!(path, "{}{x:.2} {y:.2}", if broken { "M" } else { "L" });
            }
            broken = place.is_none();
        }
        if !places.is_empty() {
            let _ = writeln!(out, "{}", stroke(index, &path));
        }
        // Some markers along the line, at other places for each, so that crossing lines differ.
        let stride = (places.len() / 8).max(1);
        let first = index % stride;
        for (x, y) in places.into_iter().skip(first).step_by(stride).flatten() {
            out.push_str(&marker(index, x, y));
        }
        out.push_str("</g>\n");
    }

    /// An interval with its ends marked, and the value on it.
    fn bar(&self, out: &mut String, index: usize, bar: &Bar, x: Extent, y: Extent) {
        if !self.shows((bar.x, bar.y)) {
            return;
        }
        let (px, py) = self.at((bar.x, bar.y), x, y);
        if bar.low < bar.high && [bar.low, bar.high].iter().all(|end| self.y.scale.shows(*end)) {
            let (low, high) =
                (self.at((bar.x, bar.low), x, y).1, self.at((bar.x, bar.high), x, y).1);
            let (left, right) = (px - 4.5, px + 4.5);
            let path = format!(
                "M{px:.2} {low:.2}V{high:.2}M{left:.2} {low:.2}H{right:.2}M{left:.2} {high:.2}H{right:.2}"
            );
            let _ = writeln!(out, "{}", stroke(index, &path));
        }
        out.push_str(&marker(index, px, py));
    }

    /// The legend in columns, and the height of the whole.
    fn legend(&self) -> (String, f64) {
        let longest =
            self.series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        let most = ((PLOT.width - SWATCH) / LETTER) as usize;
        let column = SWATCH + longest.min(most) as f64 * LETTER + 24.0;
        let columns = ((WIDTH - PLOT.left) / column).floor().max(1.0) as usize;
        let rows = self.series.len().div_ceil(columns);
        let mut out = String::new();
        for (i, series) in self.series.iter().enumerate() {
            let x = PLOT.left + (i / rows) as f64 * column;
            let y = LEGEND_TOP + (i % rows) as f64 * LEGEND_ROW;
            let swatch = format!("M{x:.1} {y:.1}L{:.1} {y:.1}", x + 28.0);
            let _ = writeln!(
                out,
                "<g>{}{}<text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                stroke(i, &swatch),
                marker(i, x + 14.0, y),
                x + SWATCH,
                y + 4.5,
                escaped(&shortened(&series.name, most))
            );
        }
        (out, LEGEND_TOP + rows as f64 * LEGEND_ROW)
    }
}

fn stroke(index: usize, path: &str) -> String {
    let colour = index % COLOURS;
    let dashes = DASHES[index / COLOURS % DASHES.len()];
    let dashes =
        if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
    format!("<path class=\"line c{colour}\"{dashes} d=\"{path}\"/>")
}

fn marker(index: usize, x: f64, y: f64) -> String {
    let colour = index % COLOURS;
    let path = match index % MARKERS {
        0 => return format!("<circle class=\"m{colour}\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"3.6\"/>"),
        1 => format!("M{:.2} {:.2}h7v7h-7z", x - 3.5, y - 3.5),
        2 => format!("M{x:.2} {:.2}l4.4 7.4h-8.8z", y - 4.6),
        3 => format!("M{x:.2} {:.2}l4.6 4.6l-4.6 4.6l-4.6 -4.6z", y - 4.6),
        _ => format!("M{x:.2} {:.2}l4.4 -7.4h-8.8z", y + 4.6),
    };
    format!("<path class=\"m{colour}\" d=\"{path}\"/>")
}

fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
