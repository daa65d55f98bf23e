//! The signals that ask for a checkpoint.
#![expect(unsafe_code, reason = "what a signal does now is only asked of the system by pointer")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use super::exit::{self, Exit};

/// Signals within this time are one: `timeout -s INT` sends its own to the process and to its group.
const ONE: Duration = Duration::from_millis(500);

/// What batch systems send before the end, each its own.
const WARNINGS: [i32; 4] = [SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU];

/// The first SIGINT, SIGHUP or warning asks for a checkpoint; only a further SIGINT, as of a second Ctrl-C,
/// ends at once.
///
/// The others come in rows: of a terminal that is closed, the shell tells and the system too; batch systems
/// warn once more, and leave time until they kill. SIGHUP is left ignored where it was so from the start:
/// `nohup xp run` is to outlive its terminal. `tell` is called once, when the first one has come.
///
/// # Errors
/// A system that gives no handler or thread.
pub(super) fn stop_on_signals(tell: impl Fn() + Send + 'static) -> Result<Arc<AtomicBool>, Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    listen(&stop, tell).map_err(|e| Exit::new(exit::ENVIRONMENT, format!("signals: {e}")))?;
    Ok(stop)
}

fn listen(stop: &Arc<AtomicBool>, tell: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let hang_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new(WARNINGS.into_iter().chain([SIGINT]).chain(hang_up))?;
    // A file at its size limit (`ulimit -f`) is an error of writing, and not the end of the process.
    flag::register(SIGXFSZ, Arc::default())?;
    let stop = Arc::clone(stop);
    let answer = move || {
        let mut first = None;
        for signal in signals.forever() {
            if !stop.swap(true, Ordering::Relaxed) {
                tell();
            }
            let since = first.get_or_insert_with(Instant::now).elapsed();
            if signal == SIGINT && since >= ONE {
                low_level::exit(exit::AT_ONCE.into());
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(answer)?;
    Ok(())
}

/// Whether this process ignores a signal, as one does that was started so.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros are a `sigaction`; without a new action the call only writes the present one to it.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut present) == 0
            && present.sa_sigaction == libc::SIG_IGN
    }
}
