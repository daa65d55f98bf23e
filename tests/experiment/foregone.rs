//! What can be EXPLORATORY at most is said before it is computed, in the words of the report after it.

use serde_json::Value;

use super::lab::Lab;
use super::{code, stderr};

const SHORT: (&str, &str) = ("max_steps = 30", "max_steps = 2");

/// Config and reason of what `xp plan` calls exploratory.
fn foretold(lab: &Lab, spec: &str) -> Vec<(String, String)> {
    let plan = lab.plan(spec, "r");
    let text = |row: &Value, key: &str| row[key].as_str().expect("text").to_owned();
    let rows = plan["exploratory"].as_array().expect("a list").iter();
    rows.map(|row| (text(row, "config"), text(row, "reason"))).collect()
}

#[test]
fn claims_that_are_lost_already_are_named_before_anything_is_trained() {
    let lab = Lab::new();
    let spec = lab.spec("tiny", &[SHORT]);
    assert_eq!(foretold(&lab, &spec), []);
    let first = lab.run(&spec, "r", &[]);
    assert_eq!(code(&first), 0);
    assert!(!stderr(&first).contains("at most"), "{}", stderr(&first));
    assert_eq!(foretold(&lab, &spec), []);

    let more = lab.spec("more", &[SHORT, ("seeds = [1, 2]", "seeds = [1, 2, 3]")]);
    let renamed = lab.spec("renamed", &[SHORT, ("name = \"tiny\"", "name = \"again\"")]);
    let fresh =
        [SHORT, ("name = \"tiny\"", "name = \"fresh\""), ("seeds = [1, 2]", "seeds = [3, 4]")];
    let fresh = lab.spec("fresh", &fresh);
    for (spec, why) in [
        (&more, "seed 3 was added after results existed and no looks were declared"),
        (&renamed, "another experiment had results of mix_a0.2 and geo with seeds 1, 2"),
    ] {
        let before = foretold(&lab, spec);
        let [(config, reason)] = before.as_slice() else { panic!("{before:?}") };
        assert!(config == "mix_a0.2" && reason.starts_with(why), "{before:?}");
        let tried = lab.run(spec, "r", &["--dry-run"]);
        let said = stderr(&tried);
        assert!(said.contains("can be EXPLORATORY at most: ") && said.contains(why), "{said}");
        assert_eq!(stderr(&lab.run(spec, "r", &["--dry-run", "--quiet"])), "");
        // On record it is what it was said to become.
        let run = lab.run(spec, "r", &[]);
        assert_eq!(code(&run), 0);
        assert!(stderr(&run).contains(why), "{}", stderr(&run));
        assert_eq!(foretold(&lab, spec), before);
    }
    assert_eq!(foretold(&lab, &spec), [], "the declaration that came first is as it was");
    // Seed 3 has results by now, seeds 4 and 5 have none.
    let known = foretold(&lab, &fresh);
    let [(_, reason)] = known.as_slice() else { panic!("{known:?}") };
    assert!(reason.contains("of mix_a0.2 and geo with seed 3 before"), "{reason}");
    let unseen = ("seeds = [1, 2]", "seeds = [4, 5]");
    let unseen = lab.spec("unseen", &[SHORT, ("name = \"tiny\"", "name = \"unseen\""), unseen]);
    assert_eq!(foretold(&lab, &unseen), []);
}
