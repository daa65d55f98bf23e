//! Time of `xp check`: a spec with 100 configs and one with 1,000, as whole processes.
//!
//! `cargo bench --bench check`

use std::process::{Command, Stdio};
use std::time::Instant;

const RUNS: usize = 21;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (configs, per_axis) in [(100, 10), (1_000, 10)] {
        let mut axes = vec![
            format!("a = {:?}", axis(0.05, per_axis)),
            format!("p = {:?}", axis(2.0, per_axis)),
        ];
        let mut name = "mix_a{{ a }}_p{{ p }}".to_owned();
        let mut omf = "0.3";
        if configs > 100 {
            axes.push(format!("o = {:?}", axis(0.1, per_axis)));
            name.push_str("_o{{ o }}");
            omf = "{{ o }}";
        }
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs/valid/tiny.toml");
        let text = format!(
            "extends = {base:?}\n[[config]]\nname = \"geo\"\nfreq = \"geo(theta=10k)\"\n\
             [[config]]\nname = \"{name}\"\n\
             freq = \"mix(geo(theta=10k), anchored_poly(theta=10k, p={{{{ p }}}}, omf={omf}), alpha={{{{ a }}}})\"\n\
             sweep.grid = {{ {} }}\n",
            axes.join(", ")
        );
        let spec = dir.path().join(format!("{configs}.toml"));
        std::fs::write(&spec, text).expect("writable");
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let began = Instant::now();
                let status = Command::new(env!("CARGO_BIN_EXE_xp"))
                    .args(["check", "-q"])
                    .arg(&spec)
                    .stdout(Stdio::null())
                    .status()
                    .expect("xp runs");
                assert!(status.success());
                began.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!(
            "xp check, {} configs: median {:.1} ms (min {:.1}, max {:.1}, {RUNS} processes)",
            configs + 1,
            times[RUNS / 2],
            times[0],
            times[RUNS - 1]
        );
    }
}

fn axis(from: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| ((from + i as f64 * 0.05) * 100.0).round() / 100.0).collect()
}
