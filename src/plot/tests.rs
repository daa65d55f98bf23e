use super::*;

fn line(name: &str, ys: &[f64]) -> Series {
    let points = ys.iter().enumerate().map(|(k, y)| (k as f64, *y)).collect();
    Series::line(name, points)
}

fn chart(series: Vec<Series>) -> Chart {
    Chart {
        title: "a < b & \"c\"".to_owned(),
        x: Axis::new("channel k", Scale::Linear),
        y: Axis::new("omega", Scale::Log),
        series,
        rules: vec![Rule { label: "training length".to_owned(), y: 3e-3 }],
    }
}

fn falling(base: f64) -> Vec<f64> {
    (0..32).map(|k| base.powf(-f64::from(k) / 32.0)).collect()
}

#[test]
fn one_line_is_drawn_in_dots() {
    insta::assert_snapshot!(chart(vec![line("geo", &falling(1e4))]).text(72, 12));
}

#[test]
fn several_lines_are_letters_and_meet_in_stars() {
    let lines = vec![line("slow", &falling(5e5)), line("fast", &falling(1e2))];
    insta::assert_snapshot!(chart(lines).text(72, 12));
}

#[test]
fn any_values_give_a_chart() {
    let odd = [
        vec![],
        vec![line("none", &[])],
        vec![line("zeros", &[0.0, 0.0])],
        vec![line("one", &[1.0])],
        vec![line("same", &[0.5, 0.5, 0.5])],
        vec![line("gap", &[1.0, 0.0, 0.1, f64::NAN, f64::INFINITY, 0.01])],
        vec![line("far", &[1e-300, 1e300]), line("tiny", &[5e-324, 1.0])],
    ];
    for lines in odd {
        let mut chart = chart(lines);
        for scale in [Scale::Log, Scale::Linear] {
            chart.y.scale = scale;
            for (width, height) in [(0, 0), (72, 12), (300, 100)] {
                let text = chart.text(width, height);
                assert!(text.lines().count() >= 7, "{text}");
                assert!(!text.contains("NaN"), "{text}");
            }
            let svg = chart.svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}

#[test]
fn ticks_are_round_and_inside() {
    let labels = |scale: Scale, low, high, wanted| -> Vec<String> {
        let ticks = scale.ticks(Extent { low, high }, wanted);
        assert!(ticks.iter().all(|(at, _)| (low * 0.999..=high * 1.001).contains(at)));
        ticks.into_iter().map(|(_, label)| label).collect()
    };
    assert_eq!(labels(Scale::Linear, 0.0, 31.0, 8), ["0", "5", "10", "15", "20", "25", "30"]);
    assert_eq!(labels(Scale::Linear, 0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    assert_eq!(labels(Scale::Log, 1e-4, 1.0, 8), ["1", "0.1", "0.01", "1e-3", "1e-4"]);
    assert_eq!(labels(Scale::Log, 1e-12, 1.0, 5), ["1", "1e-3", "1e-6", "1e-9", "1e-12"]);
    assert_eq!(labels(Scale::Log, 5.0, 300.0, 8), ["5", "10", "20", "50", "100", "200"]);
    assert_eq!(labels(Scale::Log, 0.2, 0.9, 5), ["0.2", "0.4", "0.6", "0.8"]);
    assert_eq!(labels(Scale::Log, 12.0, 19.0, 5), ["12", "14", "16", "18"]);
}

/// Elements that are opened, in order; panics if they are not closed in the other order.
fn elements(xml: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().expect("a name").to_owned();
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        all.push(name);
    }
    assert!(open.is_empty(), "{open:?}");
    all
}

#[test]
fn the_svg_is_well_formed_and_has_a_path_for_each_line() {
    let many: Vec<Series> =
        (0..30).map(|i| line(&format!("set_{i}"), &falling(10f64.powi(i % 6 + 1)))).collect();
    let svg = chart(many).svg();
    let names = elements(&svg);
    assert_eq!(names.iter().filter(|name| *name == "svg").count(), 1);
    assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"));
    // Of each a line and its swatch in the legend.
    assert_eq!(svg.matches("class=\"line c").count(), 60);
    let strokes: std::collections::BTreeSet<&str> = svg
        .lines()
        .filter(|line| line.starts_with("<path class=\"line c"))
        .map(|line| line.split(" d=").next().expect("before the path"))
        .collect();
    assert_eq!(strokes.len(), 28, "seven colours in four dashes before one comes again");
    assert!(svg.contains(">training length<"));
}

#[test]
fn a_value_that_cannot_be_shown_interrupts_the_line() {
    let svg = chart(vec![line("gap", &[1.0, 0.1, 0.0, 0.1, 1.0])]).svg();
    let path = svg.lines().find(|line| line.starts_with("<path class=\"line c")).expect("a line");
    assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2));
}

#[test]
fn a_rule_without_room_on_the_plot_is_named_below_it() {
    let mut crowded = chart(vec![line("geo", &falling(1e4))]);
    crowded.rules = vec![
        Rule { label: "one turn within the training length of 2048".to_owned(), y: 3e-3 },
        Rule { label: "one turn within the target length of 2049".to_owned(), y: 3.001e-3 },
    ];
    let text = crowded.text(72, 12);
    assert_eq!(text.matches("one turn within").count(), 2, "{text}");
}

#[test]
fn the_name_of_a_rule_stands_where_fewer_lines_pass() {
    let side =
        |ys: &[f64]| chart(vec![line("a", ys)]).svg().contains("text-anchor=\"end\" x=\"824\"");
    // Flat on the rule's height at the left, away from it at the right; and the other way round.
    let near = 3.2e-3;
    assert!(side(&[near, near, near, near, 1.0]));
    assert!(!side(&[1.0, near, near, near, near]));
}

#[test]
fn values_and_intervals_are_drawn_and_set_the_extent() {
    let bars = vec![
        Bar { x: 1.0, low: 2.0, y: 3.0, high: 400.0 },
        Bar { x: 2.0, low: 5.0, y: 5.0, high: 5.0 },
    ];
    let mut chart = chart(vec![Series {
        name: "a".to_owned(),
        dots: vec![(0.0, 0.5), (3.0, -1.0)],
        bars,
        ..Series::default()
    }]);
    chart.rules.clear();
    chart.x.ticks = vec![0.0, 1.0, 7.0];
    let extent = chart.y_extent();
    assert!(extent.low < 0.5 && extent.high > 400.0 && extent.high < 600.0, "{extent:?}");
    let svg = chart.svg();
    elements(&svg);
    assert_eq!(
        svg.matches("class=\"dot c0\"").count(),
        1,
        "what has no place on the axis is left out"
    );
    // An interval, the swatch; where there is none the value alone.
    assert_eq!(svg.matches("<path class=\"line c0\"").count(), 2, "{svg}");
    assert!(svg.contains(">0<") && svg.contains(">1<") && !svg.contains(">7<"));
}
