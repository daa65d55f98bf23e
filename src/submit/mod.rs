//! Job arrays over a frozen list of runs: the texts that a scheduler is given.
//!
//! Every task carries out one line of the list, and refuses to if the spec's ids are no longer those
//! that the list has. Texts are functions of what they are told; nothing here calls a scheduler.

pub mod kubernetes;
pub mod slurm;

use crate::fs;
use crate::plan::{Plan, Point, Task};
use crate::results::Layout;
use crate::run::run_dir;
use crate::run::state::{Index, State, inspect};
use crate::train::Precision;

/// What is missing of a plan, as a list for tasks in the order of `xp run`, and the number of runs that are there.
///
/// # Errors
/// Results that are in the way of a run, or cannot be read.
pub fn missing(
    plan: &Plan,
    layout: &Layout,
    index: &Index,
) -> Result<(Vec<Task>, usize), crate::run::Error> {
    let (mut tasks, mut done) = (Vec::new(), 0);
    let mut runs = plan.runs();
    plan.seed_by_seed(&mut runs);
    for run in runs {
        match inspect(&run, &run_dir(plan, &run, layout), index)?.state {
            State::Done => done += 1,
            State::Evaluate | State::Resume { .. } | State::Todo => {
                tasks.push(Task::new(tasks.len(), &run));
            }
        }
    }
    Ok((tasks, done))
}

/// GPUs that a task of a plan needs: one where matrices are multiplied in bf16, which the CPU does not.
#[must_use]
pub fn gpus(plan: &Plan) -> u32 {
    let bf16 = |point: &Point| point.resolved.protocol.train.precision == Precision::Bf16;
    u32::from(plan.points.iter().any(bf16))
}

/// A word for a POSIX shell that means exactly `text`.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes the files of a submission into a new folder.
///
/// # Errors
/// If it is there already, or cannot be written.
pub fn write(folder: &std::path::Path, files: &[(&str, &str)]) -> fs::Result<()> {
    fs::create_dir_all(&folder.join("logs"))?;
    for (name, text) in files {
        fs::write_atomic(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in [
            "",
            "plain/path-1.toml",
            "with space",
            "it's",
            "$HOME `x` \"y\"\\",
            "a\nb",
            "*?[x]~&;|",
        ] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .expect("sh");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}
