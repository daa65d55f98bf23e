//! The terminal of stderr as the place of progress bars: no run waits for it, and none fails with it.
//!
//! A terminal can stop reading (a connection that hangs, Ctrl-S) and can go away while runs are at work. What
//! it does not take at once is kept, up to a limit, and written with what comes next.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard};

use indicatif::TermLike;

/// Bytes that wait for a terminal that does not read; further ones are dropped.
const MOST_WAITING: usize = 1 << 16;
/// Names under which stderr's terminal can be opened anew. Only that gives it a mode of its own: of stderr
/// itself the mode is shared with the shell and every program beside this one.
const NAMES: [&str; 2] = ["/proc/self/fd/2", "/dev/tty"];

/// Whether a stream is a terminal that can move its cursor and show colours.
pub fn is_capable(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Rows and columns of a terminal, each where it is known.
pub fn size(stream: impl AsFd) -> (Option<u16>, Option<u16>) {
    let known = |n: u16| (n > 0).then_some(n);
    let size = rustix::termios::tcgetwinsize(stream);
    size.map_or((None, None), |size| (known(size.ws_row), known(size.ws_col)))
}

/// The terminal of stderr. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Terminal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    out: File,
    text: Mutex<Text>,
}

#[derive(Debug, Default)]
struct Text {
    /// Handed over, not yet taken.
    waiting: Vec<u8>,
    /// What is being drawn.
    frame: Vec<u8>,
}

impl Terminal {
    /// The terminal of stderr, if it is one that bars can be drawn on.
    pub fn of_stderr() -> Option<Self> {
        let stderr = io::stderr();
        if !is_capable(&stderr) {
            return None;
        }
        let anew = |name: &&str| {
            let mut options = File::options();
            options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
            options.open(name).ok().filter(File::is_terminal)
        };
        // Where it cannot be opened anew, as after `su`, it is waited for.
        let out = NAMES.iter().find_map(anew);
        let out = out.or_else(|| stderr.as_fd().try_clone_to_owned().ok().map(File::from))?;
        Some(Self(Arc::new(Inner { out, text: Mutex::default() })))
    }

    /// Writes what still waits, however long that takes.
    pub fn finish(&self) {
        let waiting = std::mem::take(&mut self.text().waiting);
        let _ = io::stderr().write_all(&waiting);
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.0.text.lock().expect("no panic while it is held")
    }

    /// A control sequence with a count.
    fn control(&self, count: usize, letter: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{count}{letter}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        size(&self.0.out).1.unwrap_or(80)
    }

    fn height(&self) -> u16 {
        size(&self.0.out).0.unwrap_or(24)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.control(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.control(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.control(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.control(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write_str(s)?;
        self.write_str("\n")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.text().frame.extend_from_slice(s.as_bytes());
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let Text { waiting, frame } = &mut *self.text();
        if waiting.len() + frame.len() <= MOST_WAITING {
            waiting.append(frame);
        }
        frame.clear();
        while !waiting.is_empty() {
            match (&self.0.out).write(waiting) {
                Ok(taken @ 1..) => drop(waiting.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // It is gone.
                Ok(0) | Err(_) => waiting.clear(),
            }
        }
        Ok(())
    }
}
