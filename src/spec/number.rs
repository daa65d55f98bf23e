//! Numbers written in quotes with a suffix: `"50M"`, `"500k"`, `"3e-4"`.

/// Parses digits with an optional exponent and an optional suffix k, M or G attached to them.
/// Underscores may group digits. `None` if the text is no such number.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, suffix) = match text.char_indices().next_back()? {
        (at, 'k') => (&text[..at], "e3"),
        (at, 'M') => (&text[..at], "e6"),
        (at, 'G') => (&text[..at], "e9"),
        _ => (text, ""),
    };
    let starts_well =
        digits.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
    let chars_well = digits.chars().all(|c| c.is_ascii_digit() || "._eE+-".contains(c));
    if !starts_well || !chars_well || digits.ends_with(['.', '_', 'e', 'E', '+', '-']) {
        return None;
    }
    let has_exponent = digits.contains(['e', 'E']);
    let plain = digits.replace('_', "");
    if suffix.is_empty() || has_exponent {
        let scale = match suffix {
            "e3" => 1e3,
            "e6" => 1e6,
            "e9" => 1e9,
            _ => 1.0,
        };
        return plain.parse::<f64>().ok().map(|x| x * scale);
    }
    // As one decimal literal, so that "0.3k" is exactly 300 and not 0.3 * 1000.
    format!("{plain}{suffix}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn suffixes_and_underscores() {
        for (text, value) in [
            ("50M", 50e6),
            ("500k", 500e3),
            ("0.3k", 300.0),
            ("1.1G", 1.1e9),
            ("50_000_000", 5e7),
            (" 3e-4 ", 3e-4),
            ("5e2k", 5e5),
            ("-8", -8.0),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in
            ["", "k", "50 M", "1e", "x1", "1k5", "0x10", "nan", "inf", "1.", "--1", "1__", "5Mk"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
