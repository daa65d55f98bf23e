//! The `xp` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(xp::cli::main())
}
