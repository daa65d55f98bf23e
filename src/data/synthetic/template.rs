//! The notation of the story tables.
//!
//! | written | becomes |
//! | --- | --- |
//! | `{A}`, `{A.he}`, `{A.him}`, `{A.his}`, `{A.kind}` | a character's name, pronouns, kind |
//! | `{slot}` | the value bound to the slot, or else a word of the list with that name |
//! | `{x=list}` | a word of the list, bound to `x` for the rest of the template |
//! | `{n.count}`, `{n.less}`, `{n.less.count}` | for a number word: "one, two, three"; one less |
//! | `{^slot}` | any of these with a capital letter |
//! | `[one\|two]` | one of the alternatives; they nest and may hold slots |
//! | `a~`, `A~` | "a" or "an", by what follows |

use super::characters::Character;
use super::words::{self, NUMBERS};
use crate::rng::Stream;

/// Named values: what `{slot}` stands for.
#[derive(Debug, Clone, Default)]
pub(super) struct Bindings {
    values: Vec<(&'static str, String)>,
    characters: Vec<(&'static str, Character)>,
}

impl Bindings {
    pub(super) fn set(&mut self, slot: &'static str, value: String) {
        match self.values.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, old)) => *old = value,
            None => self.values.push((slot, value)),
        }
    }

    pub(super) fn set_character(&mut self, slot: &'static str, character: Character) {
        match self.characters.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, old)) => *old = character,
            None => self.characters.push((slot, character)),
        }
    }

    pub(super) fn get(&self, slot: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == slot).map(|(_, value)| value.as_str())
    }

    /// Whether some slot has this value.
    pub(super) fn holds(&self, value: &str) -> bool {
        self.values.iter().any(|(_, known)| known == value)
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let (slot, part) = name.split_once('.').unwrap_or((name, ""));
        if let Some((_, who)) = self.characters.iter().find(|(known, _)| *known == slot) {
            let value = match part {
                "" => who.name,
                "he" => who.he,
                "him" => who.him,
                "his" => who.his,
                "kind" => who.kind,
                _ => return None,
            };
            return Some(value.to_owned());
        }
        let value = self.get(slot)?;
        if part.is_empty() {
            return Some(value.to_owned());
        }
        let n = NUMBERS.iter().position(|n| *n == value)?;
        match part {
            "count" => Some(NUMBERS[..=n].join(", ")),
            "less" => n.checked_sub(1).map(|n| NUMBERS[n].to_owned()),
            "less.count" => Some(NUMBERS[..n].join(", ")),
            _ => None,
        }
    }
}

/// A template that does not follow the notation, or uses a slot that nothing binds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// Expands a template; words and alternatives are drawn from `stream`.
pub(super) fn expand(
    template: &'static str,
    bindings: &Bindings,
    stream: &mut Stream,
) -> Result<String, Malformed> {
    let mut bindings = bindings.clone();
    let mut out = String::new();
    write(template, &mut bindings, stream, &mut out)?;
    Ok(articles(&out))
}

fn write(
    template: &'static str,
    bindings: &mut Bindings,
    stream: &mut Stream,
    out: &mut String,
) -> Result<(), Malformed> {
    let malformed = || Malformed(template.to_owned());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '[', '}', ']', '|']) {
        out.push_str(&rest[..at]);
        let inside = &rest[at + 1..];
        match rest.as_bytes()[at] {
            b'{' => {
                let end = inside.find('}').ok_or_else(malformed)?;
                let value = slot(&inside[..end], bindings, stream)
                    .ok_or_else(|| Malformed(format!("{{{}}} in: {template}", &inside[..end])))?;
                out.push_str(&value);
                rest = &inside[end + 1..];
            }
            b'[' => {
                let (alternatives, after) = alternatives(inside).ok_or_else(malformed)?;
                let chosen = alternatives[stream.below(alternatives.len() as u64) as usize];
                write(chosen, bindings, stream, out)?;
                rest = after;
            }
            _ => return Err(malformed()),
        }
    }
    out.push_str(rest);
    Ok(())
}

fn slot(written: &'static str, bindings: &mut Bindings, stream: &mut Stream) -> Option<String> {
    let (capital, written) = match written.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, written),
    };
    let mut draw = |list: &str| {
        let list = words::list(list)?;
        Some(list[stream.below(list.len() as u64) as usize].to_owned())
    };
    let value = match written.split_once('=') {
        Some((name, list)) => {
            let mut value = draw(list)?;
            // Two things of one template should be two; lists are much longer than templates.
            for _ in 0..8 {
                if !bindings.holds(&value) {
                    break;
                }
                value = draw(list)?;
            }
            bindings.set(name, value.clone());
            value
        }
        None => bindings.lookup(written).or_else(|| draw(written))?,
    };
    if !capital {
        return Some(value);
    }
    let mut letters = value.chars();
    let first = letters.next()?;
    Some(first.to_uppercase().chain(letters).collect())
}

/// Splits `one|two]rest` at the top level.
fn alternatives(inside: &'static str) -> Option<(Vec<&'static str>, &'static str)> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' if depth > 0 => depth -= 1,
            b'|' if depth == 0 => {
                found.push(&inside[start..at]);
                start = at + 1;
            }
            b']' => {
                found.push(&inside[start..at]);
                return Some((found, &inside[at + 1..]));
            }
            _ => {}
        }
    }
    None
}

/// Resolves `a~` before a word.
fn articles(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('~');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let vowel = part.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
        out.push_str(if vowel { "n " } else { " " });
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(1, "test", "template")
    }

    fn bindings() -> Bindings {
        let mut bindings = Bindings::default();
        bindings.set("n", "three".to_owned());
        let mia = Character { name: "Mia", kind: "girl", he: "she", him: "her", his: "her" };
        bindings.set_character("A", mia);
        bindings
    }

    #[test]
    fn slots_alternatives_and_articles_are_expanded() {
        let expand = |template| expand(template, &bindings(), &mut stream()).unwrap();
        assert_eq!(
            expand("{A} ran. {^A.he} saw a~apple and a~pear."),
            "Mia ran. She saw an apple and a pear."
        );
        assert_eq!(expand("{n.count}; {n.less}; {n.less.count}"), "one, two, three; two; one, two");
        assert_eq!(expand("[x|x] [y[z|z]|yz]"), "x yz");
        let twice = expand("{c=color} {c}");
        let (first, second) = twice.split_once(' ').unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn what_does_not_follow_the_notation_is_refused() {
        for template in ["{A", "[a|b", "a]", "a|b", "{nobody}", "{A.age}", "{x=nothing}"] {
            assert!(expand(template, &bindings(), &mut stream()).is_err(), "{template}");
        }
    }

    #[test]
    fn all_alternatives_occur() {
        let mut stream = stream();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.insert(expand("[a|b|c]", &Bindings::default(), &mut stream).unwrap());
        }
        assert_eq!(seen.len(), 3);
    }
}
