//! Which run is next, where several are carried out side by side.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex};

/// Runs in their order. A run whose weights another one is just training waits for it, since it
/// can then take them over.
pub struct Queue<T> {
    state: Mutex<Inner<T>>,
    changed: Condvar,
}

struct Inner<T> {
    waiting: VecDeque<(String, T)>,
    /// Keys of the runs at work.
    busy: BTreeSet<String>,
    closed: bool,
}

impl<T> Queue<T> {
    /// Items in order, each with its key: two of one key are never at work together.
    pub fn new(items: impl IntoIterator<Item = (String, T)>) -> Self {
        let waiting = items.into_iter().collect();
        let state = Inner { waiting, busy: BTreeSet::new(), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The first item whose key is not at work, with its key; waits if all keys are. `None` once
    /// nothing is left or the queue was closed.
    pub fn take(&self) -> Option<(String, T)> {
        let mut state = self.state.lock().expect("no code panics while it holds the queue");
        loop {
            if state.closed || state.waiting.is_empty() {
                return None;
            }
            let free = state.waiting.iter().position(|(key, _)| !state.busy.contains(key));
            if let Some(place) = free {
                let item = state.waiting.remove(place).expect("found above");
                state.busy.insert(item.0.clone());
                return Some(item);
            }
            state = self.changed.wait(state).expect("no code panics while it holds the queue");
        }
    }

    /// Says that the item of a key is done.
    pub fn done(&self, key: &str) {
        let mut state = self.state.lock().expect("no code panics while it holds the queue");
        state.busy.remove(key);
        self.changed.notify_all();
    }

    /// How many items were not given out.
    pub fn into_left(self) -> usize {
        self.state.into_inner().expect("no code panics while it holds the queue").waiting.len()
    }

    /// Gives out nothing more.
    pub fn close(&self) {
        let mut state = self.state.lock().expect("no code panics while it holds the queue");
        state.closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_one_key_are_never_out_together_and_order_is_kept() {
        let items = [("a", 1), ("a", 2), ("b", 3)].map(|(key, i)| (key.to_owned(), i));
        let queue = Queue::new(items);
        assert_eq!(queue.take().unwrap().1, 1);
        assert_eq!(queue.take().unwrap().1, 3);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.take());
            queue.done("a");
            assert_eq!(waits.join().unwrap().unwrap().1, 2);
        });
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_closed_queue_lets_those_go_that_wait() {
        let queue = Queue::new([("a".to_owned(), 1), ("a".to_owned(), 2)]);
        queue.take().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.take());
            queue.close();
            assert_eq!(waits.join().unwrap(), None);
        });
    }
}
