//! One column of a report: an evaluation length, as trained or under a transform.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::results::WinRule;

/// Where a perplexity was measured: `16384` as trained, `16384 [yarn8]` under a transform of the
/// trained frequencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Evaluation length, in tokens.
    pub length: u64,
    /// Name of the transform; `None` as trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
}

impl Column {
    /// A length under a transform, or as trained.
    #[must_use]
    pub fn new(length: u64, transform: Option<&str>) -> Self {
        Self { length, transform: transform.map(str::to_owned) }
    }

    /// Where the claim is made.
    #[must_use]
    pub fn of_claim(win: &WinRule) -> Self {
        Self::new(win.primary_length, win.transform.as_deref())
    }

    /// Where the guard is judged: at its length, under the transform of the claim. A model is used
    /// in one way at every length, so what it may cost is measured in that way too.
    #[must_use]
    pub fn of_guard(win: &WinRule) -> Option<Self> {
        win.guard.map(|guard| Self::new(guard.length, win.transform.as_deref()))
    }

    /// As it stands in a sentence: `16384 tokens [yarn8]`.
    #[must_use]
    pub fn tokens(&self) -> String {
        let Self { length, transform } = self;
        match transform {
            Some(name) => format!("{length} tokens [{name}]"),
            None => format!("{length} tokens"),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transform {
            Some(name) => write!(f, "{} [{name}]", self.length),
            None => write!(f, "{}", self.length),
        }
    }
}

impl FromStr for Column {
    type Err = String;

    /// Reads what [`Column`] prints, with or without the space.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` is no column: {why}; write a length, and a transform in brackets after \
                     it, like `16384` or `16384[yarn8]`"
            )
        };
        let (length, name) = match text.split_once('[') {
            None => (text, None),
            Some((length, rest)) => {
                let name = rest.strip_suffix(']').ok_or_else(|| wrong("the `[` is not closed"))?;
                (length.trim_end(), Some(name))
            }
        };
        if name == Some("") {
            return Err(wrong("there is no name between the brackets"));
        }
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse().ok().filter(|_| digits);
        let length = length.ok_or_else(|| wrong("it does not begin with a number of tokens"))?;
        Ok(Self::new(length, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_reads_as_it_prints() {
        let nested = "splice({trained}, table([1, 0.5]))";
        for (column, printed, tokens) in [
            (Column::new(2048, None), "2048", "2048 tokens"),
            (Column::new(16384, Some("yarn8")), "16384 [yarn8]", "16384 tokens [yarn8]"),
            (
                Column::new(8, Some(nested)),
                "8 [splice({trained}, table([1, 0.5]))]",
                "8 tokens [splice({trained}, table([1, 0.5]))]",
            ),
        ] {
            assert_eq!(column.to_string(), printed);
            assert_eq!(column.tokens(), tokens);
            assert_eq!(printed.parse(), Ok(column.clone()));
            assert_eq!(printed.replacen(" [", "[", 1).parse(), Ok(column));
        }
        for (wrong, why) in [
            ("", "a number of tokens"),
            ("+8", "a number of tokens"),
            ("x", "a number of tokens"),
            ("[yarn8]", "a number of tokens"),
            ("8[yarn8", "not closed"),
            ("8[]", "no name"),
            ("99999999999999999999", "a number of tokens"),
        ] {
            let error = wrong.parse::<Column>().unwrap_err();
            assert!(error.contains(why) && error.contains("16384[yarn8]"), "{error}");
        }
    }
}
