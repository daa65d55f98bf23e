//! Which xp this is.

use std::sync::LazyLock;

use crate::plan::NUMERICS_VERSION;
use crate::run::COMMIT;

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The compiler of this build.
pub const RUSTC: &str = env!("XP_RUSTC");

/// The optional features of this build.
pub fn features() -> Vec<&'static str> {
    let all =
        [("cuda", cfg!(feature = "cuda")), ("cuda-emulator", cfg!(feature = "cuda-emulator"))];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

/// `cuda`, or a word for none.
pub fn features_words() -> String {
    let features = features();
    if features.is_empty() { "none (CPU only)".to_owned() } else { features.join(", ") }
}

/// What `xp --version` says after the name.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{VERSION}\ncommit    {}\nnumerics  {NUMERICS_VERSION} (results of other numerics are \
             other results)\nfeatures  {}\ncompiler  {RUSTC}",
            COMMIT.unwrap_or("not recorded"),
            features_words(),
        )
    });
    &TEXT
}
