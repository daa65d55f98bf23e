//! What was probably meant: the remedy in a message, where a mistake is one that people make.

use super::number;

/// What other programs call a key of ours.
const ALIASES: [(&str, &str); 19] = [
    ("batch", "batch_size"),
    ("block_size", "seq_len"),
    ("context_length", "seq_len"),
    ("d_model", "hidden_size"),
    ("dtype", "precision"),
    ("ffn_size", "intermediate_size"),
    ("learning_rate", "lr"),
    ("max_grad_norm", "grad_clip"),
    ("max_length", "seq_len"),
    ("micro_batch", "micro_batch_size"),
    ("n_heads", "heads"),
    ("n_layers", "layers"),
    ("num_epochs", "epochs"),
    ("num_heads", "heads"),
    ("num_layers", "layers"),
    ("scheduler", "decay"),
    ("seed", "seeds"),
    ("steps", "max_steps"),
    ("warmup_ratio", "warmup_frac"),
];

/// Longest value that a remedy repeats.
const LONGEST: usize = 60;

/// The candidate that a misspelt word most likely means, if one is near enough.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word_len = word.chars().count();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| {
            distance <= (word_len.max(candidate.chars().count()) / 3).max(1)
                && distance < candidate.chars().count()
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The key that a misspelt one most likely means, or one with another program's name for it.
pub fn nearest_key<'k>(word: &str, keys: &[&'k str]) -> Option<&'k str> {
    let aliases = ALIASES.iter().filter(|(_, key)| keys.contains(key));
    let names = keys.iter().map(|&key| (key, key)).chain(aliases.copied());
    let near = nearest(word, names.clone().map(|(name, _)| name))?;
    names.into_iter().find(|(name, _)| *name == near).map(|(_, key)| key)
}

/// A value of the wrong type.
pub enum Found<'a> {
    /// A table.
    Table,
    /// The content of a string.
    Text(&'a str),
    /// Another value, as it is written.
    Other(&'a str),
}

/// How a value of the wrong type would be right; `wanted` and `items` are the types (of JSON schema) that may
/// stand there, and in a list there.
pub fn of_type(path: &str, found: &Found<'_>, wanted: &[&str], items: &[&str]) -> Option<String> {
    let numbers = |types: &[&str]| types.contains(&"number") || types.contains(&"integer");
    if wanted == ["array"] {
        return match *found {
            Found::Table => items
                .contains(&"object")
                .then(|| format!("[[{path}]], with two brackets, is one of a list of tables")),
            Found::Text(text) if numbers(items) => {
                let all = text.trim().trim_matches(['[', ']']).split(',').map(str::trim);
                let list: Vec<&str> = all.collect();
                let sound = list.iter().all(|part| number::parse(part).is_some());
                let short = sound && text.len() <= LONGEST;
                short.then(|| format!("write [{}]", list.join(", ")))
            }
            Found::Text(text) => {
                (text.len() <= LONGEST).then(|| format!("write [\"{}\"]", text.escape_debug()))
            }
            Found::Other(source) => (source.len() <= LONGEST).then(|| format!("write [{source}]")),
        };
    }
    let Found::Text(text) = *found else { return None };
    let text = text.trim();
    if wanted.contains(&"boolean") {
        let sound = ["true", "false"].contains(&text);
        return sound.then(|| format!("without quotes: {text}"));
    }
    if numbers(wanted) {
        if let Some(percent) = text.strip_suffix('%').and_then(number::parse) {
            return Some(format!("a fraction: {}", percent / 100.0));
        }
        let begins = text.starts_with(|c: char| c.is_ascii_digit());
        return begins.then(|| "suffixes are k, M and G: \"500k\", \"50M\"".to_owned());
    }
    None
}

/// What TOML has for a value that it does not read, by the line in which it stands.
pub fn of_syntax(line: &str) -> Option<&'static str> {
    let (_, value) = line.split_once('=')?;
    let value = value.trim();
    let word: String = value.chars().take_while(char::is_ascii_alphanumeric).collect();
    match word.as_str() {
        "True" | "TRUE" | "False" | "FALSE" => Some("true and false, in small letters"),
        "None" | "none" | "null" | "Null" | "nil" => {
            Some("leave the key out: TOML has no value for nothing")
        }
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let rest = value[digits.len()..].strip_prefix(',')?;
            let decimal = rest.starts_with(|c: char| c.is_ascii_digit());
            decimal.then_some("decimals have a point: 0.001")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_programs_call_a_key_is_known() {
        let keys = ["lr", "max_steps", "decay"];
        assert_eq!(nearest_key("learning_rate", &keys), Some("lr"));
        assert_eq!(nearest_key("max_step", &keys), Some("max_steps"));
        assert_eq!(nearest_key("n_heads", &keys), None);
        assert_eq!(nearest_key("decoy", &keys), Some("decay"));
    }

    #[test]
    fn values_of_python_and_of_other_countries_are_known() {
        assert_eq!(of_syntax("a = True # yes"), Some("true and false, in small letters"));
        assert!(of_syntax("a = None").unwrap().starts_with("leave the key out"));
        assert_eq!(of_syntax("lr = 0,001"), Some("decimals have a point: 0.001"));
        for other in ["a = ", "a", "a = 1, 2", "a = 1e-3.5", "a = \"x", "a = [1, 2"] {
            assert_eq!(of_syntax(other), None, "{other}");
        }
    }
}
