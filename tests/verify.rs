//! `xp verify` through the binary: a sound run holds, and every kind of change is found and named.

mod lab;

use std::process::Output;

use serde_json::Value;

use lab::Lab;

const RUN: &str = "results/tiny/geo/seed-1";

impl Lab {
    /// A lab with one run of the tiny spec.
    fn with_run() -> (Self, String) {
        let lab = Self::new();
        let spec = lab.spec("tiny", &[]);
        let output = lab.xp(&["run", &spec, "--only", "geo", "--seeds", "1", "-q"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        (lab, spec)
    }

    /// Replaces text of a file of the run; gives back what was there.
    fn edit(&self, file: &str, change: impl FnOnce(&str) -> String) -> String {
        let path = self.path(&format!("{RUN}/{file}"));
        let before = std::fs::read_to_string(&path).expect("a text file");
        let after = change(&before);
        assert_ne!(after, before, "{file}");
        std::fs::write(&path, after).expect("writable");
        before
    }

    fn restore(&self, file: &str, text: &str) {
        std::fs::write(self.path(&format!("{RUN}/{file}")), text).expect("writable");
    }

    /// What it says on stderr when it fails with `code`.
    fn fails(&self, args: &[&str], code: i32) -> String {
        let output = self.xp(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        said(&output)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What becomes of a file's text.
type Edit<'a> = &'a dyn Fn(&str) -> String;

/// A number of a record, as its file has it.
fn number(text: &str, pointer: &str) -> String {
    let record: Value = serde_json::from_str(text).expect("JSON");
    record.pointer(pointer).expect(pointer).to_string()
}

/// The next larger number.
fn next(number: &str) -> String {
    number.parse::<f64>().expect("a number").next_up().to_string()
}

#[test]
fn a_sound_run_holds_and_stays_as_it_is() {
    let (lab, spec) = Lab::with_run();
    let bytes = || {
        let names =
            ["run.json", "eval.jsonl", "train.jsonl", "weights.safetensors", "provenance.json"];
        names.map(|name| std::fs::read(lab.path(&format!("{RUN}/{name}"))).expect(name))
    };
    let before = bytes();
    for (more, expected) in [
        (&[][..], "its files agree with each other and with their ids\n"),
        (&["--spec", &spec, "--steps", "3"], "trained again, 3 steps on cpu "),
        (&["--spec", &spec, "--steps", "30"], "30 steps on cpu "),
        (&["--spec", &spec, "--threads", "1"], ": the same log, weights, chunks and metrics\n"),
    ] {
        let output = lab.xp(&[&["verify", RUN, "-q"], more].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{more:?}: {}", said(&output));
        assert!(text.starts_with(RUN) && text.contains(expected), "{more:?}: {text}");
    }
    let output = lab.xp(&["verify", RUN, "--spec", &spec, "--json", "-q"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&answer["ok"], &answer["trained_again"]), (&true.into(), &true.into()));
    assert_eq!(
        (&answer["steps_compared"], &answer["differences"]),
        (&30.into(), &Value::Array(vec![]))
    );
    assert_eq!(bytes(), before);
}

#[test]
fn files_that_contradict_each_other_are_named() {
    let (lab, _) = Lab::with_run();
    let verify = ["verify", RUN];
    let wrong_chunk = |text: &str| {
        let loss = number(text.lines().next().expect("a line"), "/loss");
        text.replacen(&loss, &format!("1{loss}"), 1)
    };
    let last_loss = |text: &str| {
        let last = text.lines().next_back().expect("a line");
        let loss = number(last, "/loss");
        text.replace(last, &last.replace(&loss, &next(&loss)))
    };
    let other_seed = |text: &str| {
        let id = number(text, "/train_id");
        text.replace(&id, &id.replacen(|c: char| c.is_ascii_digit(), "a", 1))
    };
    let other_evaluation = |text: &str| {
        let id = number(text, "/eval_id");
        text.replace(&id, &id.replacen(|c: char| c.is_ascii_digit(), "a", 1))
    };
    let norm = |text: &str| {
        let line = text.lines().nth(7).expect("step 7");
        let norm = number(line, "/grad_norm");
        text.replace(line, &line.replace(&norm, &next(&norm)))
    };
    let cut = |text: &str| text.split_inclusive('\n').take(20).collect();
    let torn = |text: &str| format!("{text}{{\"step\":30,");
    let set = |pointer: &'static str, value: Value| {
        move |text: &str| {
            let mut record: Value = serde_json::from_str(text).expect("JSON");
            *record.pointer_mut(pointer).expect(pointer) = value.clone();
            record.to_string()
        }
    };
    let protocol = set("/protocol", "0".into());
    let omega = set("/freq/inv_freq/1", 0.5.into());
    let scale = set("/freq/attention_scale", 2.0.into());
    let expression = set("/freq/expression", "geo@1(theta=20000, grid=std)".into());
    let tokens = set("/train/tokens", 1.into());
    let data = set("/data/validation_tokens", "0".into());
    let diverged = set("/status", "diverged".into());
    let edits: [(&str, Edit<'_>, &str); 14] = [
        ("eval.jsonl", &wrong_chunk, "eval.jsonl: "),
        ("train.jsonl", &last_loss, "train.jsonl: "),
        ("train.jsonl", &norm, "train.jsonl: its hash is "),
        ("train.jsonl", &cut, "20"),
        ("train.jsonl", &torn, "other bytes than are written of its steps"),
        ("run.json", &other_seed, "run.json: no declaration in lock.json has its train id"),
        ("run.json", &other_evaluation, "run.json: its eval id is "),
        ("run.json", &protocol, "run.json: its protocol is 0, declared in lock.json is "),
        ("run.json", &omega, "run.json: freq is not what its expression gives: inv_freq"),
        ("run.json", &scale, "run.json: freq is not what its expression gives: attention_scale"),
        (
            "run.json",
            &expression,
            "run.json: its frequencies, geo@1(theta=20000, grid=std), do not",
        ),
        ("run.json", &tokens, "run.json: it has 1 tokens of training, its steps have 15360"),
        ("run.json", &data, "run.json: its validation tokens are 0, those of lock.json "),
        ("run.json", &diverged, "run.json: it diverged, and has a last loss, weights or results"),
    ];
    for (file, edit, expected) in edits {
        let before = lab.edit(file, edit);
        let text = lab.fails(&verify, 4);
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(text.contains(&format!("{RUN} does not hold: {file} differs")), "{text}");
        lab.restore(file, &before);
    }
    // Numbers that contradict themselves make no record at all.
    let before = lab.edit("run.json", |text| {
        let ppl = number(text, "/eval/64/ppl");
        text.replace(&ppl, &format!("1{ppl}"))
    });
    assert!(lab.fails(&verify, 4).contains("is not exp(nll)"));
    lab.restore("run.json", &before);
    let weights = lab.path(&format!("{RUN}/weights.safetensors"));
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() - 8]).unwrap();
    assert!(lab.fails(&verify, 4).contains("weights.safetensors: "));
    let mut flipped = whole.clone();
    flipped[whole.len() - 4] ^= 1;
    std::fs::write(&weights, &flipped).unwrap();
    let text = lab.fails(&verify, 4);
    assert!(text.contains("weights.safetensors: the hash of its weights is "), "{text}");
    std::fs::write(&weights, &whole).unwrap();
    assert_eq!(lab.xp(&verify).status.code(), Some(0));
}

#[test]
fn what_only_another_training_can_show_is_shown_with_both_values() {
    let (lab, spec) = Lab::with_run();
    let verify = ["verify", RUN, "--spec", &spec];
    // A step in the middle: nothing else holds it in a run of a version that wrote no hash of the log.
    lab.edit("run.json", |text| {
        let mut record: Value = serde_json::from_str(text).expect("JSON");
        record["train"].as_object_mut().expect("a training").remove("log").expect("a hash");
        record.to_string()
    });
    let before = lab.edit("train.jsonl", |text| {
        let line = text.lines().nth(7).expect("step 7");
        let norm = number(line, "/grad_norm");
        text.replace(line, &line.replace(&norm, &next(&norm)))
    });
    assert_eq!(lab.xp(&["verify", RUN]).status.code(), Some(0), "the files alone agree");
    let text = lab.fails(&verify, 4);
    assert!(
        text.contains("train.jsonl: step 7: grad_norm ") && text.contains(", trained again "),
        "{text}"
    );
    let text = lab.fails(&["verify", RUN, "--spec", &spec, "--steps", "8"], 4);
    assert!(text.contains("step 7: grad_norm "), "{text}");
    let fewer = lab.xp(&["verify", RUN, "--spec", &spec, "--steps", "7", "-q"]);
    assert_eq!(fewer.status.code(), Some(0), "{}", said(&fewer));
    lab.restore("train.jsonl", &before);

    let weights = lab.path(&format!("{RUN}/weights.safetensors"));
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    // The whole run, as a version recorded it that wrote no hash of its weights.
    lab.edit("run.json", |text| {
        let hash = number(text, "/train/weights");
        text.replace(&hash, "null")
    });
    assert_eq!(lab.xp(&["verify", RUN]).status.code(), Some(0), "nothing holds the weights");
    let text = lab.fails(&verify, 4);
    assert!(!text.contains("run.json"), "{text}");
    assert!(
        text.contains("weights.safetensors: 1 of ") && text.contains("values differ: value "),
        "{text}"
    );
}

#[test]
fn other_specs_devices_and_folders_are_refused_in_words() {
    let (lab, spec) = Lab::with_run();
    let other = lab.spec("other", &[("lr = 3e-3", "lr = 4e-3")]);
    let fewer = lab.spec("fewer", &[("seeds = [1, 2]", "seeds = [2]")]);
    for (args, expected) in [
        (&["verify", RUN, "--spec", &other][..], "the spec trains another run under this name"),
        (&["verify", RUN, "--spec", &fewer], "the spec has no run geo with seed 1"),
        (&["verify", RUN, "--steps", "3"], "--spec"),
        (&["verify", "none"], "there is no `none`"),
        (&["verify", "results/tiny"], "`results/tiny` holds no run.json"),
        (&["verify", &spec], "holds no run.json"),
    ] {
        let text = lab.fails(args, 2);
        assert!(text.contains(expected), "{args:?}: {text}");
    }
    lab.edit("provenance.json", |text| {
        text.replace("\"device_class\": \"cpu ", "\"device_class\": \"gpu ")
    });
    let text = lab.fails(&["verify", RUN, "--spec", &spec], 3);
    assert!(text.contains("was carried out on `gpu ") && text.contains("xp align"), "{text}");
}
