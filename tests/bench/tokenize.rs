//! Tokenising speed: MB of text a second, end to end (read, encode, hash, write, verify), against
//! what the tokenizers library does with the same documents in memory on the same threads.
//!
//! `cargo bench --bench tokenize -- [COPIES]`. Reads `train-00.txt` and the NeoX tokenizer of the
//! shared data folder where they are, and generated stories otherwise; 22 copies are 50 M tokens.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use xp::data::{
    self, Cache, Config, NoProgress, Packing, Pins, Source, Split, SplitKind, Tokenizer, synthetic,
};

const REPEATS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let copies = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1usize);
    let scratch = tempfile::tempdir()?;
    let shared = std::env::var_os("XP_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let stories = std::fs::read_to_string(shared.join("tinystories/train-00.txt"));
    let stories = stories.unwrap_or_else(|_| {
        println!("{} is not there: generated stories instead", shared.display());
        (0..2000).map(|i| synthetic::story("train", i) + "\n<|endoftext|>\n").collect()
    });
    let text = scratch.path().join("stories.txt");
    let mut file = std::fs::File::create(&text)?;
    (0..copies).try_for_each(|_| file.write_all(stories.as_bytes()))?;
    let mut tokenizers = vec![("bytes", Tokenizer::Bytes)];
    tokenizers.push(("train_bpe 4096", Tokenizer::TrainBpe { vocab_size: 4096 }));
    let neox = shared.join("gpt-neox-20b/tokenizer.json");
    if neox.is_file() {
        tokenizers.push(("gpt-neox-20b", Tokenizer::File(neox.clone())));
    }
    let megabytes = std::fs::metadata(&text)?.len() as f64 / 1e6;
    println!("{megabytes:.1} MB of text, {} threads", rayon::current_num_threads());
    for (name, tokenizer) in tokenizers {
        let config = config(&text, tokenizer);
        for _ in 0..REPEATS {
            // Tokens are made anew; a trained tokenizer is part of what is timed.
            let cache = Cache::at(tempfile::tempdir_in(scratch.path())?.keep());
            let start = Instant::now();
            let prepare =
                || data::prepare(&config, SplitKind::Train, &cache, &Pins::default(), &NoProgress);
            let stream = prepare()?;
            let made_s = start.elapsed().as_secs_f64();
            let start = Instant::now();
            prepare()?;
            let found_s = start.elapsed().as_secs_f64();
            println!(
                "{name:<16} {:>8.1} MB/s  {:>10} tokens  found again in {:.1} ms  peak {} MiB",
                megabytes / made_s,
                stream.len(),
                found_s * 1e3,
                xp::run::peak_memory().unwrap_or(0) >> 20,
            );
        }
        if let Tokenizer::File(path) = &config.tokenizer {
            library(path, &stories, copies)?;
        }
    }
    let start = Instant::now();
    let bytes: usize = (0..2000).map(|i| synthetic::story("train", i).len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!("{:<16} {:>8.1} MB/s  one thread", "stories", bytes as f64 / 1e6 / seconds);
    Ok(())
}

/// The library's own parallel encoding of documents that are in memory, ids only.
fn library(path: &Path, stories: &str, copies: usize) -> Result<(), Box<dyn Error>> {
    let tokenizer = tokenizers::Tokenizer::from_file(path).map_err(|e| e.to_string())?;
    let documents: Vec<&str> = stories.split("\n<|endoftext|>\n").collect();
    for _ in 0..REPEATS {
        let start = Instant::now();
        let mut tokens = 0;
        for _ in 0..copies {
            let encoded = tokenizer.encode_batch_fast(documents.clone(), false);
            tokens += encoded
                .map_err(|e| e.to_string())?
                .iter()
                .map(tokenizers::Encoding::len)
                .sum::<usize>();
        }
        let speed = (stories.len() * copies) as f64 / 1e6 / start.elapsed().as_secs_f64();
        println!("{:<16} {speed:>8.1} MB/s  {tokens:>10} tokens", "  the library");
    }
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
