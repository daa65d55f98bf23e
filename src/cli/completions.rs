//! `xp completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::common::answer;
use super::exit::Exit;

/// Print a script by which a shell completes xp's commands, options and files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To have them in every new shell:
  bash:  xp completions bash > ~/.local/share/bash-completion/completions/xp
  zsh:   xp completions zsh > \"${fpath[1]}/_xp\"
  fish:  xp completions fish > ~/.config/fish/completions/xp.fish
In this one: source <(xp completions bash)")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Carries out `xp completions`.
///
/// # Errors
/// A stdout that cannot be written.
pub fn run(args: &Args) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "xp", &mut script);
    answer(&String::from_utf8(script).expect("a script is text"))
}
