//! Any bytes as a frequency expression and as a transform.
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz expression -- -dict=tests/fuzz/expression.dict \
//!     -malloc_limit_mb=64 -rss_limit_mb=512 -timeout=5
//! ```

#![no_main]

#[path = "../probe.rs"]
mod probe;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(source) = std::str::from_utf8(bytes) {
        probe::probe(source);
    }
});
