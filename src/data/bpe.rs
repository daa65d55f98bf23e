//! Training a byte-level BPE, deterministically.
//!
//! The algorithm is the usual one (Sennrich et al. 2016, arXiv 1508.07909): start from the 256
//! bytes, again and again join the most frequent adjacent pair. Ties go to the smaller pair of
//! ids. The trainer of the `tokenizers` crate can leave ties to hash-map order, so the joining
//! is done here; splitting text into words, and encoding, are that crate's. No special tokens.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rayon::prelude::*;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// Version of the trainer; enters identities. To be raised when its result changes.
pub(crate) const VERSION: u32 = 1;

/// Ids of the bytes alone.
pub(crate) const MIN_VOCAB: u32 = 256;

/// More ids than any use of a trained tokenizer here; bounds time and memory.
pub(crate) const MAX_VOCAB: u32 = 1 << 20;

/// A pair that occurs less often is not joined; a small text gives fewer ids than asked.
const MIN_COUNT: i64 = 2;

type Pair = (u32, u32);

/// Counts of the words (pre-tokens, in the byte alphabet) of a text.
#[derive(Debug, Default)]
pub(crate) struct WordCounts(HashMap<String, i64>);

impl WordCounts {
    /// Adds the words of documents.
    ///
    /// # Errors
    /// The index within `documents` of the one that could not be split, and why.
    pub(crate) fn add(&mut self, documents: &[String]) -> Result<(), (usize, String)> {
        let splitter = ByteLevel::new(false, true, true);
        let counted: Vec<HashMap<String, i64>> = documents
            .par_iter()
            .enumerate()
            .map(|(index, document)| {
                let mut words = HashMap::new();
                let mut text = PreTokenizedString::from(document.as_str());
                splitter.pre_tokenize(&mut text).map_err(|e| (index, e.to_string()))?;
                for (word, ..) in text.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                    match words.get_mut(word) {
                        Some(count) => *count += 1,
                        None => {
                            words.insert(word.to_owned(), 1);
                        }
                    }
                }
                Ok(words)
            })
            .collect::<Result<_, (usize, String)>>()?;
        for (word, count) in counted.into_iter().flatten() {
            *self.0.entry(word).or_default() += count;
        }
        Ok(())
    }
}

/// Trains on word counts; the result is a `tokenizer.json`.
///
/// `vocab_size` counts ids, the 256 bytes among them; there are fewer if no pair occurs twice.
pub(crate) fn train(words: WordCounts, vocab_size: u32) -> Result<Vec<u8>, String> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
    let merges = join(words, &alphabet, &mut tokens, vocab_size);

    let vocab: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let merges: Vec<(String, String)> = merges
        .into_iter()
        .map(|(a, b)| (tokens[a as usize].clone(), tokens[b as usize].clone()))
        .collect();
    let model = BPE::builder()
        .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
        .build()
        .map_err(|e| e.to_string())?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    tokenizer.to_string(false).map(String::into_bytes).map_err(|e| e.to_string())
}

/// A word as ids, with how often it occurs.
struct Word {
    ids: Vec<u32>,
    count: i64,
}

/// Joins pairs until `tokens` holds `vocab_size`; the joins, in order.
fn join(
    words: WordCounts,
    alphabet: &[char],
    tokens: &mut Vec<String>,
    vocab_size: u32,
) -> Vec<Pair> {
    let ids: HashMap<char, u32> = alphabet.iter().copied().zip(0..).collect();
    let mut words: Vec<Word> = words
        .0
        .into_iter()
        .map(|(word, count)| Word { ids: word.chars().map(|c| ids[&c]).collect(), count })
        .collect();
    // Hash-map order must not be seen anywhere below.
    words.sort_unstable_by(|a, b| a.ids.cmp(&b.ids));

    let mut token_ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let mut counts: HashMap<Pair, i64> = HashMap::new();
    // Words that hold, or once held, a pair.
    let mut places: HashMap<Pair, HashSet<u32>> = HashMap::new();
    for (place, word) in words.iter().enumerate() {
        for pair in pairs(&word.ids) {
            *counts.entry(pair).or_default() += word.count;
            places.entry(pair).or_default().insert(place as u32);
        }
    }
    // Entries may be out of date: `counts` is what holds.
    let mut queue: BinaryHeap<(i64, Reverse<Pair>)> =
        counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();

    let mut merges = Vec::new();
    while tokens.len() < vocab_size as usize {
        let Some((queued, Reverse(pair))) = queue.pop() else { break };
        let count = counts.get(&pair).copied().unwrap_or(0);
        if count != queued {
            if count > 0 && count < queued {
                queue.push((count, Reverse(pair)));
            }
            continue; // A count that rose was queued when it did.
        }
        if count < MIN_COUNT {
            break;
        }
        let joined = format!("{}{}", tokens[pair.0 as usize], tokens[pair.1 as usize]);
        // Two pairs can spell the same token ("a"+"bc", "ab"+"c"): one id, two joins.
        let id = *token_ids.entry(joined).or_insert_with_key(|token| {
            tokens.push(token.clone());
            tokens.len() as u32 - 1
        });
        merges.push(pair);

        let mut changed: HashSet<Pair> = HashSet::new();
        for place in places.remove(&pair).unwrap_or_default() {
            let word = &mut words[place as usize];
            for old in pairs(&word.ids) {
                *counts.entry(old).or_default() -= word.count;
            }
            replace(&mut word.ids, pair, id);
            for new in pairs(&word.ids) {
                *counts.entry(new).or_default() += word.count;
                if new.0 == id || new.1 == id {
                    places.entry(new).or_default().insert(place);
                    changed.insert(new);
                }
            }
        }
        counts.remove(&pair);
        queue.extend(changed.into_iter().map(|pair| (counts[&pair], Reverse(pair))));
    }
    merges
}

fn pairs(ids: &[u32]) -> impl Iterator<Item = Pair> {
    ids.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Replaces every occurrence of `pair`, from the left, by `id`.
fn replace(ids: &mut Vec<u32>, pair: Pair, id: u32) {
    let (mut read, mut write) = (0, 0);
    while read < ids.len() {
        if read + 1 < ids.len() && (ids[read], ids[read + 1]) == pair {
            ids[write] = id;
            read += 2;
        } else {
            ids[write] = ids[read];
            read += 1;
        }
        write += 1;
    }
    ids.truncate(write);
}

#[cfg(test)]
mod tests {
    use tokenizers::Trainer;
    use tokenizers::models::bpe::BpeTrainer;

    use super::*;
    use crate::data::synthetic;

    fn stories(n: u64) -> Vec<String> {
        (0..n).map(|i| synthetic::story("train", i)).collect()
    }

    fn trained(documents: &[String], vocab_size: u32, threads: usize) -> Vec<u8> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut words = WordCounts::default();
            words.add(documents).unwrap();
            train(words, vocab_size).unwrap()
        })
    }

    #[test]
    fn any_thread_count_and_any_hash_seed_give_the_same_file() {
        let documents = stories(30);
        // Every HashMap has its own random state, so training twice tries two orders.
        let first = trained(&documents, 700, 1);
        assert_eq!(first, trained(&documents, 700, 1));
        assert_eq!(first, trained(&documents, 700, 3));
    }

    #[test]
    fn the_tokens_are_those_of_the_reference_trainer() {
        let documents = stories(40);
        let mut reference = BpeTrainer::builder()
            .vocab_size(400)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let splitter = ByteLevel::new(false, true, true);
        reference
            .feed(documents.iter(), |document| {
                let mut text = PreTokenizedString::from(document);
                splitter.pre_tokenize(&mut text)?;
                let splits = text.get_splits(OffsetReferential::Normalized, OffsetType::None);
                Ok(splits.into_iter().map(|(word, ..)| word.to_owned()).collect())
            })
            .unwrap();
        let mut model = BPE::default();
        reference.train(&mut model).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&trained(&documents, 400, 2)).unwrap();
        let ours: HashMap<String, u32> =
            serde_json::from_value(json["model"]["vocab"].clone()).unwrap();
        assert_eq!(ours.len(), 400);
        let theirs = model.get_vocab();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn the_most_frequent_pair_comes_first_and_ties_go_to_smaller_ids() {
        let documents = vec!["abab abab cd cd cd xy".to_owned()];
        let json: serde_json::Value =
            serde_json::from_slice(&trained(&documents, 100_000, 1)).unwrap();
        let merges: Vec<(String, String)> =
            serde_json::from_value(json["model"]["merges"].clone()).unwrap();
        let merges: Vec<_> = merges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        // "ab" 4 times; then "cd" and " cd" 3; pairs that occur once ("xy") are not joined.
        assert_eq!(merges, [("a", "b"), ("c", "d"), ("Ġ", "cd"), ("ab", "ab")]);
    }

    #[test]
    fn runs_of_one_byte_are_counted_exactly() {
        let documents = vec!["aaaa aaaa aaa".to_owned(), String::new()];
        let json: serde_json::Value = serde_json::from_slice(&trained(&documents, 300, 1)).unwrap();
        let vocab: HashMap<String, u32> =
            serde_json::from_value(json["model"]["vocab"].clone()).unwrap();
        assert_eq!(vocab["aa"], 256);
        assert!(vocab.len() < 300);
    }
}
