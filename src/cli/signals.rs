//! The signals that ask for a checkpoint.
#![expect(unsafe_code, reason = "what a signal does now is only asked of the system by pointer")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// The first SIGINT, SIGTERM, SIGHUP or SIGUSR1 asks for a checkpoint; the second ends at once.
///
/// SIGHUP is left ignored where it was so from the start: `nohup xp run` is to outlive its terminal.
pub(super) fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let hang_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM, SIGUSR1].into_iter().chain(hang_up) {
        // In this order: the shutdown looks at the flag before the first signal sets it.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
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
