//! Declarations and records for tests of this crate: the three finalists of the reference
//! protocol with its three seeds.

use std::collections::BTreeMap;

use super::{
    Config, Declared, Evaluation, Frequencies, Guard, Point, Record, Rule, Status, Training,
    WinRule,
};

pub(crate) const GEO: &str = "geo_500k";
pub(crate) const HYBRID: &str = "hybrid_a0.2_t100k";
pub(crate) const ANCHORED: &str = "anchpoly_p3.9_omf0.3_t500k";

/// Three configs, three seeds, report lengths 2048 and 16384, rule `auto`.
pub(crate) fn declared() -> Declared {
    let seeds = vec![42, 123, 7];
    let lengths = [2048, 4096, 8192, 16384].into_iter().map(|length| (length, Some(10))).collect();
    Declared {
        experiment: "3cfg_3seed".to_owned(),
        points: vec![Point {
            name: None,
            protocol: "p0".to_owned(),
            seq_len: 2048,
            lengths,
            transforms: Vec::new(),
            training: serde_json::json!({"schedule": {"lr": 6e-4, "seq_len": 2048}}),
            evaluation: serde_json::json!({"lengths": [2048], "slicing": "sequential"}),
            configs: [GEO, HYBRID, ANCHORED].map(|name| config(name, GEO, &seeds)).to_vec(),
            swept: BTreeMap::new(),
        }],
        seeds,
        repeats: 1,
        report_lengths: vec![2048, 16384],
        std_ddof: 1,
        win: WinRule {
            guard: Some(Guard { length: 2048, max_worse_pct: 1.0 }),
            ..WinRule::new(Rule::Auto, 16384)
        },
    }
}

/// A config whose ids are made of its name.
pub(crate) fn config(name: &str, baseline: &str, seeds: &[u64]) -> Config {
    Config {
        name: name.to_owned(),
        baseline: baseline.to_owned(),
        expression: format!("{name}()"),
        expr_id: format!("expr-{name}"),
        vec_id: format!("vec-{name}"),
        train_ids: seeds.iter().map(|seed| format!("train-{name}-{seed}")).collect(),
        swept: None,
    }
}

/// A finished native run of [`declared`] with these perplexities by length.
pub(crate) fn record(config: &str, seed: u64, ppl: &[(u64, f64)]) -> Record {
    let eval = ppl
        .iter()
        .map(|&(length, ppl)| {
            let nll = Some(libm::log(ppl));
            (length, Evaluation { ppl: Some(ppl), nll, chunks: Some(10) })
        })
        .collect::<BTreeMap<_, _>>();
    Record {
        schema: 1,
        train_id: format!("train-{config}-{seed}"),
        eval_id: format!("eval-{config}-{seed}"),
        protocol: "p0".to_owned(),
        experiment: "3cfg_3seed".to_owned(),
        point: None,
        config: config.to_owned(),
        seed,
        freq: Some(Frequencies {
            expression: format!("{config}()"),
            inv_freq: vec![1.0, 0.5],
            attention_scale: 1.0,
            expr_id: format!("expr-{config}"),
            vec_id: format!("vec-{config}"),
            layers: None,
        }),
        status: Status::Done,
        train: Some(Training {
            steps: 762,
            tokens: 49_938_432,
            final_loss: Some(1.9),
            init: None,
            log: None,
            weights: None,
        }),
        data: None,
        evaluation: None,
        eval,
        transforms: BTreeMap::new(),
    }
}
