//! The `xp` binary.
fn main() {}
