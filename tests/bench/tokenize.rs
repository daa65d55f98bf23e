//! Tokenising speed: MB of text a second, end to end (read, encode, hash, write, verify).
//!
//! `cargo bench --bench tokenize`. Reads `train-00.txt` and the NeoX tokenizer of the shared data
//! folder where they are, and generated stories otherwise.

use std::path::{Path, PathBuf};
use std::time::Instant;

use xp::data::{
    self, Cache, Config, NoProgress, Packing, Pins, Source, Split, SplitKind, Tokenizer, synthetic,
};

const REPEATS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let shared = std::env::var_os("XP_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let mut text = shared.join("tinystories/train-00.txt");
    if !text.is_file() {
        println!("{} is not there: generated stories instead", text.display());
        text = scratch.path().join("stories.txt");
        let stories: String =
            (0..2000).map(|i| synthetic::story("train", i) + "\n<|endoftext|>\n").collect();
        std::fs::write(&text, stories)?;
    }
    let mut tokenizers = vec![("bytes", Tokenizer::Bytes)];
    tokenizers.push(("train_bpe 4096", Tokenizer::TrainBpe { vocab_size: 4096 }));
    let neox = shared.join("gpt-neox-20b/tokenizer.json");
    if neox.is_file() {
        tokenizers.push(("gpt-neox-20b", Tokenizer::File(neox)));
    }
    let megabytes = std::fs::metadata(&text)?.len() as f64 / 1e6;
    for (name, tokenizer) in tokenizers {
        let config = config(&text, tokenizer);
        for _ in 0..REPEATS {
            // Tokens are made anew; a trained tokenizer is part of what is timed.
            let cache = Cache::at(tempfile::tempdir_in(scratch.path())?.keep());
            let start = Instant::now();
            let stream =
                data::prepare(&config, SplitKind::Train, &cache, &Pins::default(), &NoProgress)?;
            let made_s = start.elapsed().as_secs_f64();
            let start = Instant::now();
            data::prepare(&config, SplitKind::Train, &cache, &Pins::default(), &NoProgress)?;
            let found_s = start.elapsed().as_secs_f64();
            println!(
                "{name:<16} {:>8.1} MB/s  {:>10} tokens  found again in {:.1} ms",
                megabytes / made_s,
                stream.len(),
                found_s * 1e3,
            );
        }
    }
    let start = Instant::now();
    let bytes: usize = (0..2000).map(|i| synthetic::story("train", i).len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!("{:<16} {:>8.1} MB/s  one thread", "stories", bytes as f64 / 1e6 / seconds);
    Ok(())
}

fn config(text: &Path, tokenizer: Tokenizer) -> Config {
    let split = |name: &str| Split {
        name: name.to_owned(),
        dataset_files: None,
        files: Some(vec![text.to_owned()]),
        max_tokens: None,
    };
    Config {
        source: Source::Local,
        text_column: "text".to_owned(),
        tokenizer,
        separator: None,
        packing: Packing::Stream,
        endpoints: Vec::new(),
        train: split("train"),
        validation: split("validation"),
    }
}
