//! Placeholder binary; the commands come with `cli`.
fn main() {}
