//! Names that become folders and table rows: of experiments, configs and sweep points.

/// Longest name, in bytes.
pub const MAX_LEN: usize = 100;

/// What a pattern can say of [`unsafe_because`]: all but the length and the reserved names. What
/// holds a template is not known yet.
pub const PATTERN: &str = r"^[A-Za-z0-9]([A-Za-z0-9._=+,-]*[A-Za-z0-9_=+,-])?$|\{\{";

/// Folder names that the results layout uses itself.
const RESERVED: [&str; 4] = ["report", "superseded", "lock.json", "imported"];
/// Device names that Windows takes for files of any extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com1", "lpt1"];

/// Why a name cannot be a file name everywhere; `None` if it can.
#[must_use]
pub fn unsafe_because(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._=+,-".contains(c);
    if name.is_empty() {
        Some("a name cannot be empty".into())
    } else if name.len() > MAX_LEN {
        Some(format!("a name has at most {MAX_LEN} characters, this has {}", name.len()))
    } else if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        Some(format!("{bad:?} cannot stand in a name: letters, digits and . _ = + , - can"))
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Some("a name begins with a letter or a digit".into())
    } else if name.ends_with('.') {
        Some("a name cannot end with a dot".into())
    } else {
        let lower = name.to_ascii_lowercase();
        let stem = lower.split('.').next().unwrap_or_default();
        let taken = RESERVED.contains(&lower.as_str())
            || DEVICES.contains(&stem)
            || (lower.starts_with("seed-") || lower.starts_with("attempt-"));
        taken.then(|| format!("`{name}` is reserved"))
    }
}

#[cfg(test)]
mod tests {
    use super::unsafe_because;

    #[test]
    fn names_of_the_field_are_fine_and_hostile_ones_are_not() {
        for good in ["geo_500k", "hybrid_a0.2_t100k", "lr=0.0003", "n=2,lr=3e-4", "3cfg_3seed"] {
            assert_eq!(unsafe_because(good), None, "{good}");
        }
        let long = "a".repeat(101);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/etc",
            "a/b",
            "a\\b",
            "a b",
            "a\0",
            "-rf",
            ".hidden",
            "a.",
            "CON",
            "nul.txt",
            "Report",
            "seed-1",
            "=cmd",
            "é",
            "\u{202e}a",
            "a\n",
            &long,
        ] {
            assert!(unsafe_because(bad).is_some(), "{bad:?}");
        }
    }
}
