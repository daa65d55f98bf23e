//! report.tex: the tables of a paper (booktabs).
//!
//! The file compiles by itself, and gives the tables alone where a document takes it in by `\input`
//! (with booktabs in its preamble).

use std::fmt::Write as _;

use super::model::{Experiment, Report, Section, place};
use super::table::{self, Table};

const START: &str = r"% Compiles by itself; or \input it into a document that has \usepackage{booktabs}.
\makeatletter
\ifx\@nodocument\relax
  \let\xpend\relax
\else
  \documentclass{article}
  \usepackage{booktabs}
  \usepackage[margin=2cm]{geometry}
  \begin{document}
  \def\xpend{\end{document}}
\fi
\makeatother
";

/// The report as LaTeX: a table a protocol, and one a leaderboard.
#[must_use]
pub fn tex(report: &Report) -> String {
    let mut out = START.to_owned();
    for group in report.leaderboard.iter().flat_map(|leaderboard| &leaderboard.groups) {
        let caption = format!(
            "{}: by mean perplexity at {}. The gap is against the baseline of the same experiment, \
             in percent of its mean; positive is better. A rank is no claim.",
            group.members.join(", "),
            group.primary_words()
        );
        environment(&mut out, &table::of_group(group), &caption, &group.members.join("-"));
    }
    for experiment in &report.experiments {
        for section in &experiment.sections {
            let name = place(&experiment.name, section.point.as_deref());
            let caption = caption(experiment, section, &name);
            environment(&mut out, &table::of_section(section), &caption, &name);
        }
    }
    out.push_str("\\xpend\n");
    out
}

fn caption(experiment: &Experiment, section: &Section, name: &str) -> String {
    let mut caption =
        format!("{name}: {}. {}", table::caption(experiment, section), experiment.rule);
    if let Some(operating) = &experiment.operating {
        let _ = write!(caption, " {}", operating.words());
    }
    for transform in &section.transforms {
        let _ = write!(caption, " [{}]: {}.", transform.name, transform.expression);
    }
    caption
}

fn environment(out: &mut String, table: &Table, caption: &str, label: &str) {
    let numbers = table.header.len() - table.num_keys;
    let columns = format!("{}{}", "l".repeat(table.num_keys), "r".repeat(numbers));
    let line = |cells: &[String]| {
        format!("{} \\\\\n", cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" & "))
    };
    let label: String = label
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .collect();
    let _ = write!(
        out,
        "\n\\begin{{table}}[htbp]\n\\centering\n\\caption{{{}}}\n\\label{{tab:{label}}}\n\
         \\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n",
        escape(caption),
        line(&table.header)
    );
    for row in &table.rows {
        out.push_str(&line(row));
    }
    out.push_str("\\bottomrule\n\\end{tabular}\n\\end{table}\n");
}

/// A text in which nothing is a command; characters that LaTeX's own fonts lack are replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '`' | '"' => out.push('\''),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '±' => out.push_str("$\\pm$"),
            '−' => out.push_str("$-$"),
            '→' => out.push_str("$\\to$"),
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c if c.is_whitespace() || c.is_control() => out.push(' '),
            _ => out.push('?'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_a_command() {
        let hostile = "\\input{/etc/passwd} $x_1^2$ 50 % & # ~ {\n}";
        let expected = "\\textbackslash{}input\\{/etc/passwd\\} \\$x\\_1\\textasciicircum{}2\\$ 50 \\% \\& \
                        \\# \\textasciitilde{} \\{ \\}";
        assert_eq!(escape(hostile), expected);
        assert_eq!(escape("18.2 ± 0.9"), "18.2 $\\pm$ 0.9");
    }
}
