//! Every test against scipy and statsmodels (tests/reference/stats.py), and what no library says.

use serde_json::Value;

use super::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/reference/stats.json")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-3), "{what}: {got} is not {want}");
}

#[test]
fn tests_of_pairs_are_scipys() {
    let mut flipped = 0;
    for pair in golden()["pairs"].as_array().expect("a list") {
        let (a, b) = (numbers(&pair["a"]), numbers(&pair["b"]));
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        let test = paired_t(&differences, 0.95).expect("two or more");
        let want = numbers(&pair["paired"]);
        for (what, got, want) in [
            ("t", test.t, want[0]),
            ("p", test.p, want[1]),
            ("low", test.low, want[2]),
            ("high", test.high, want[3]),
        ] {
            close(what, got, want);
        }
        for (margin, want) in [0.0, 0.1, -0.3].into_iter().zip(numbers(&pair["beyond"])) {
            close("beyond", test.beyond(margin), want);
        }
        close("below", test.negated().beyond(0.1), pair["below"].as_f64().unwrap());
        let test = welch_t(&a, &b, 0.95).expect("two or more");
        let want = numbers(&pair["welch"]);
        for (what, got, want) in [
            ("Welch's t", test.t, want[0]),
            ("df", test.df, want[1]),
            ("p", test.p, want[2]),
            ("low", test.low, want[3]),
            ("high", test.high, want[4]),
        ] {
            close(what, got, want);
        }
        let number = |key: &str| pair[key].as_f64();
        close("sign test", sign_test(&differences).unwrap(), number("sign_test").unwrap());
        close("wilcoxon", wilcoxon(&differences).unwrap(), number("wilcoxon").unwrap());
        close("dz", dz(&differences).unwrap(), number("dz").unwrap());
        if let Some(want) = number("sign_flip") {
            close("sign flip", sign_flip(&differences).unwrap(), want);
            flipped += 1;
        }
    }
    assert!(flipped >= 7);
}

#[test]
fn corrections_intervals_and_components_are_theirs() {
    let golden = golden();
    let p = numbers(&golden["holm"]["p"]);
    for (got, want) in holm(&p, p.len()).iter().zip(numbers(&golden["holm"]["adjusted"])) {
        close("holm", *got, want);
    }
    for case in golden["bca"].as_array().expect("a list") {
        let interval = bca_of(
            case["observed"].as_f64().unwrap(),
            numbers(&case["replicates"]),
            &numbers(&case["jackknife"]),
            case["level"].as_f64().unwrap(),
        )
        .expect("an interval");
        let want = numbers(&case["interval"]);
        close("low", interval.low, want[0]);
        close("high", interval.high, want[1]);
    }
    let nested = &golden["nested"];
    let runs: Vec<Vec<Vec<f64>>> = nested["runs"]
        .as_array()
        .expect("seeds")
        .iter()
        .map(|attempts| attempts.as_array().expect("attempts").iter().map(numbers).collect())
        .collect();
    let got = components(&runs).expect("two seeds");
    close("seed", got.seed, nested["seed"].as_f64().unwrap());
    close("rerun", got.rerun.unwrap(), nested["rerun"].as_f64().unwrap());
    close("chunk", got.chunk.unwrap(), nested["chunk"].as_f64().unwrap());
    assert_eq!(got.rerun_df as u64, nested["rerun_df"].as_u64().unwrap());
}

#[test]
fn with_few_pairs_the_exact_tests_cannot_reach_five_percent() {
    for n in 1..=8 {
        let all_better = vec![1.0; n];
        assert_eq!(sign_flip(&all_better), Some(smallest_p(n)));
        assert_eq!(sign_test(&all_better), Some(smallest_p(n)));
        assert_eq!(wilcoxon(&all_better), Some(smallest_p(n)));
    }
    assert_eq!(smallest_p(3), 0.25);
    assert!(smallest_p(5) > 0.05 && smallest_p(6) < 0.05);
}

#[test]
fn the_bootstrap_is_seeded_by_the_values_and_asks_for_ten() {
    let values: Vec<f64> = (0..12).map(|i| f64::from(i * i % 7)).collect();
    let interval = bca(&values, 0.95).expect("twelve values");
    assert_eq!(bca(&values, 0.95), Some(interval));
    let middle = mean(&values).unwrap();
    assert!(interval.low < middle && middle < interval.high);
    let narrower = bca(&values, 0.8).expect("twelve values");
    assert!(interval.low < narrower.low && narrower.high < interval.high);
    // About as wide as the t interval, which holds for such values too.
    let t = paired_t(&values, 0.95).unwrap();
    let ratio = (interval.high - interval.low) / (t.high - t.low);
    assert!((0.8..1.2).contains(&ratio), "{ratio}");
    assert_eq!(bca(&values[..9], 0.95), None);
    assert_eq!(bca(&[1.0; 12], 0.95), None);
}

#[test]
fn one_pair_can_carry_a_result() {
    let influence = leave_one_out(&[0.1, 0.12, 0.09, 0.11, -2.0]);
    assert_eq!(influence.len(), 5);
    assert!(influence[..4].iter().all(|w| w.p.unwrap() > 0.4 && w.mean < 0.0));
    assert!(influence[4].p.unwrap() < 0.001 && influence[4].mean > 0.1);
    assert_eq!(leave_one_out(&[1.0]), []);
    assert_eq!(leave_one_out(&[1.0, 2.0])[0].p, None);
}

#[test]
fn what_cannot_be_said_is_none() {
    for bad in [&[][..], &[f64::NAN, 1.0], &[f64::INFINITY, 1.0]] {
        assert_eq!(sign_flip(bad), None);
        assert_eq!(sign_test(bad), None);
        assert_eq!(wilcoxon(bad), None);
        assert_eq!(dz(bad), None);
        assert_eq!(welch_t(bad, &[1.0, 2.0], 0.95), None);
        assert_eq!(bca(bad, 0.95), None);
    }
    assert_eq!((sign_test(&[0.0, 0.0]), wilcoxon(&[0.0, 0.0])), (None, None));
    assert_eq!(sign_flip(&[0.0, 0.0]), Some(1.0));
    assert_eq!(sign_flip(&[1.0; MOST_FLIPPED + 1]), None);
    assert_eq!(wilcoxon(&[1.0; MOST_RANKED + 1]), None);
    assert_eq!(dz(&[1.0, 1.0]), None);
    assert_eq!(welch_t(&[1.0, 1.0], &[2.0, 2.0], 0.95), None);
    assert_eq!(components(&[vec![vec![1.0]]]), None);
    let once = components(&[vec![vec![1.0]], vec![vec![3.0]]]).expect("two seeds");
    assert_eq!((once.seed, once.rerun, once.chunk), (2.0, None, None));
    // Large samples neither overflow nor take long.
    assert!(sign_test(&vec![1.0; 1000]).unwrap() < 1e-290);
    assert!((sign_test(&[-1.0, 1.0].repeat(500)).unwrap() - 1.0).abs() < 1e-9);
}

#[test]
fn differences_are_held_against_re_run_noise() {
    for case in golden()["rerun"].as_array().expect("a list") {
        let df = case["df"].as_u64().map(|df| df as usize);
        let std = case["std"].as_f64().expect("a number");
        let test = rerun_test(&numbers(&case["differences"]), std, df).expect("usable");
        close("shift", test.shift, case["shift"].as_f64().expect("a number"));
        close("spread", test.spread, case["spread"].as_f64().expect("a number"));
    }
    assert_eq!(rerun_test(&[], 0.1, None), None);
    assert_eq!(rerun_test(&[0.1], 0.0, None), None);
    assert_eq!(rerun_test(&[0.1], 0.1, Some(0)), None);
    assert_eq!(rerun_test(&[f64::NAN], 0.1, None), None);
}
