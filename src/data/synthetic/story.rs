//! How a story is put together: a cast, days, scenes, and threads told and returned to.

use std::collections::VecDeque;

use super::characters::{CHARACTERS, Character};
use super::scenes::{ARRIVALS, CLOSINGS, MORNINGS, OPENINGS, SCENES, TRAVEL};
use super::template::{Bindings, expand};
use super::threads::{THREADS, Thread};
use super::words::DAYS;
use super::{SPLITS, VERSION};
use crate::rng::Stream;

/// Shortest story, in words, about.
const MIN_WORDS: f64 = 100.0;

/// Longest story, in words, about.
const MAX_WORDS: f64 = 6000.0;

/// Threads that are open at once, at most.
const MAX_OPEN: usize = 10;

/// A template is not used again within so many paragraphs, if it can be helped.
const RECENT: usize = 12;

/// A story, and where its facts are told and needed.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) text: String,
    /// Every thread, in the order in which they were returned to.
    #[cfg_attr(not(test), expect(dead_code, reason = "what the tests look at"))]
    pub(super) returns: Vec<Return>,
}

/// A fact, the words at which it was told and needed, and the value that had to be known.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "what the tests look at"))]
pub(super) struct Return {
    pub(super) thread: &'static str,
    /// What is told once a story.
    pub(super) unique: String,
    pub(super) told_at: usize,
    pub(super) needed_at: usize,
    pub(super) secret: String,
    /// The paragraph in which it is needed.
    pub(super) paragraph: usize,
}

/// A thread that has been told and not yet returned to.
struct Open {
    thread: &'static Thread,
    unique: String,
    bindings: Bindings,
    told_at: usize,
    reminded: bool,
}

struct Writer {
    stream: Stream,
    paragraphs: Vec<String>,
    words: usize,
    /// Those met so far; the first two are the main characters.
    met: Vec<Character>,
    /// Those still to come.
    cast: Vec<Character>,
    bindings: Bindings,
    today: usize,
    open: Vec<Open>,
    used: Vec<(&'static str, String)>,
    /// The templates used last, so that a page does not repeat itself.
    recent: VecDeque<&'static str>,
    returns: Vec<Return>,
}

/// Writes story `index` of a split.
pub(super) fn write(split: &str, index: u64) -> Story {
    debug_assert!(SPLITS.contains(&split));
    let name = format!("v{VERSION}/{split}");
    let mut stream = Stream::numbered(0, "synthetic stories", &name, index);
    let (low, high) = (libm::log(MIN_WORDS), libm::log(MAX_WORDS));
    // The last paragraphs run past the target; the subtraction makes up for them.
    let target = libm::exp(low + stream.unit() * (high - low)) as usize;
    let mut writer = Writer::new(stream, target);
    writer.opening();
    while writer.words + writer.closing_words() < target {
        writer.paragraph(target);
    }
    writer.closing();
    Story { text: writer.paragraphs.join("\n\n"), returns: writer.returns }
}

impl Writer {
    fn new(mut stream: Stream, target: usize) -> Self {
        let size = 2 + [300, 800, 1600, 3200].iter().filter(|&&words| target > words).count();
        let mut everyone = CHARACTERS.to_vec();
        let mut cast = Vec::new();
        for _ in 0..size {
            cast.push(everyone.swap_remove(stream.below(everyone.len() as u64) as usize));
        }
        let today = stream.below(DAYS.len() as u64) as usize;
        let met = cast.drain(..2).collect();
        let mut writer = Self {
            stream,
            paragraphs: Vec::new(),
            words: 0,
            met,
            cast,
            bindings: Bindings::default(),
            today,
            open: Vec::new(),
            used: Vec::new(),
            recent: VecDeque::new(),
            returns: Vec::new(),
        };
        writer.bind("home", "{village}{villageend}");
        writer.bind("here", "{place}");
        writer.bind("sky", "{weather}");
        writer.bindings.set("today", DAYS[today].to_owned());
        writer
    }

    /// Binds a story-wide slot. A slot name is no list's, so the old value does not stand in.
    fn bind(&mut self, slot: &'static str, template: &'static str) {
        let value = fill(template, &self.bindings, &mut self.stream);
        self.bindings.set(slot, value);
    }

    fn below(&mut self, bound: usize) -> usize {
        self.stream.below(bound as u64) as usize
    }

    fn pick(&mut self, table: &'static [&'static str]) -> &'static str {
        let at = self.below(table.len());
        table[at]
    }

    /// Two of those met, in any order.
    fn draw_pair(&mut self) {
        let first = self.below(self.met.len());
        let second = (first + 1 + self.below(self.met.len() - 1)) % self.met.len();
        self.bindings.set_character("A", self.met[first]);
        self.bindings.set_character("B", self.met[second]);
    }

    /// The main characters.
    fn main_pair(&mut self) {
        self.bindings.set_character("A", self.met[0]);
        self.bindings.set_character("B", self.met[1]);
    }

    fn add(&mut self, template: &'static str, bindings: &Bindings) {
        let paragraph = fill(template, bindings, &mut self.stream);
        self.words += paragraph.split_whitespace().count();
        self.paragraphs.push(paragraph);
    }

    fn add_one_of(&mut self, table: &'static [&'static str]) {
        let mut template = self.pick(table);
        // A short table may hold nothing but recent ones.
        for _ in 0..8 {
            if !self.recent.contains(&template) {
                break;
            }
            template = self.pick(table);
        }
        self.recent.push_back(template);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.add(template, &self.bindings.clone());
    }

    fn opening(&mut self) {
        self.main_pair();
        self.add_one_of(OPENINGS);
        // The first thread is of the main characters, and is returned to at the very end.
        self.tell();
    }

    /// Words that the end will take: every open thread, and a last paragraph.
    fn closing_words(&self) -> usize {
        30 * (self.open.len() + 1)
    }

    fn paragraph(&mut self, target: usize) {
        self.draw_pair();
        let room = self.words + self.closing_words() + 60 < target;
        match self.below(100) {
            0..22 if room && self.open.len() < MAX_OPEN => self.tell(),
            22..40 if self.open.len() > 1 => {
                // Not the first: that one is kept.
                let at = 1 + self.below(self.open.len() - 1);
                let open = self.open.remove(at);
                self.give_back(open);
            }
            40..46 => self.remind(),
            46..60 => {
                let left = self.bindings.get("here").map(str::to_owned);
                while self.bindings.get("here") == left.as_deref() {
                    self.bind("here", "{place}");
                }
                self.add_one_of(TRAVEL);
            }
            60..65 => {
                self.today = (self.today + 1) % DAYS.len();
                self.bindings.set("today", DAYS[self.today].to_owned());
                self.bind("sky", "{weather}");
                self.add_one_of(MORNINGS);
            }
            65..72 if !self.cast.is_empty() => {
                let known = self.below(self.met.len());
                self.bindings.set_character("B", self.met[known]);
                let newcomer = self.cast.remove(0);
                self.bindings.set_character("A", newcomer);
                self.met.push(newcomer);
                self.add_one_of(ARRIVALS);
            }
            _ => self.add_one_of(SCENES),
        }
    }

    /// Tells a fact that does not contradict an earlier one; a scene if none is found.
    fn tell(&mut self) {
        for _ in 0..20 {
            let at = self.below(THREADS.len());
            let thread = &THREADS[at];
            let mut bindings = self.bindings.clone();
            let mut distinct = true;
            for (slot, template) in thread.bind {
                let value = fill(template, &bindings, &mut self.stream);
                // Today's place or weather must not double as a part of the fact either.
                distinct &= !bindings.holds(&value);
                bindings.set(slot, value);
            }
            let key = (thread.name, fill(thread.unique, &bindings, &mut self.stream));
            if !distinct || self.used.contains(&key) {
                continue;
            }
            let unique = key.1.clone();
            self.used.push(key);
            let told_at = self.words;
            let template = self.pick(thread.plant);
            self.add(template, &bindings);
            self.open.push(Open { thread, unique, bindings, told_at, reminded: false });
            return;
        }
        self.add_one_of(SCENES);
    }

    /// Lets a matter come up, once at most.
    fn remind(&mut self) {
        let waiting: Vec<usize> =
            (0..self.open.len()).filter(|&at| !self.open[at].reminded).collect();
        if waiting.is_empty() {
            return self.add_one_of(SCENES);
        }
        let at = waiting[self.below(waiting.len())];
        self.open[at].reminded = true;
        let (thread, bindings) = (self.open[at].thread, self.open[at].bindings.clone());
        let template = self.pick(thread.remind);
        self.add(template, &bindings);
    }

    /// Returns to a fact.
    fn give_back(&mut self, open: Open) {
        let needed_at = self.words;
        let template = self.pick(open.thread.recall);
        self.add(template, &open.bindings);
        self.returns.push(Return {
            thread: open.thread.name,
            unique: open.unique,
            told_at: open.told_at,
            needed_at,
            secret: open.bindings.get(open.thread.secret).unwrap_or_default().to_owned(),
            paragraph: self.paragraphs.len() - 1,
        });
    }

    fn closing(&mut self) {
        // All that is still open, in any order, the first told last.
        while self.open.len() > 1 {
            let at = 1 + self.below(self.open.len() - 1);
            let open = self.open.remove(at);
            self.give_back(open);
        }
        if let Some(first) = self.open.pop() {
            self.give_back(first);
        }
        self.main_pair();
        self.add_one_of(CLOSINGS);
    }
}

fn fill(template: &'static str, bindings: &Bindings, stream: &mut Stream) -> String {
    expand(template, bindings, stream)
        .expect("the tables follow the notation: the tests expand every template of them")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rayon::prelude::*;

    use super::*;

    fn stories(n: u64) -> Vec<Story> {
        (0..n).into_par_iter().map(|index| write("train", index)).collect()
    }

    fn example() -> Bindings {
        let mut bindings = Bindings::default();
        for slot in ["home", "here", "today", "sky"] {
            bindings.set(slot, slot.to_owned());
        }
        bindings.set_character("A", CHARACTERS[0]);
        bindings.set_character("B", CHARACTERS[20]);
        bindings
    }

    #[test]
    fn every_template_of_the_tables_expands() {
        let mut stream = Stream::new(3, "test", "tables");
        let mut check = |template, bindings: &Bindings| {
            // Often enough that every alternative is tried.
            for _ in 0..60 {
                let text = expand(template, bindings, &mut stream).unwrap();
                assert!(!text.contains(['{', '}', '[', ']', '|', '~', '^']), "{text}");
                assert!(!text.contains("  "), "{text}");
            }
        };
        for table in [OPENINGS, ARRIVALS, TRAVEL, MORNINGS, SCENES, CLOSINGS] {
            for template in table {
                check(template, &example());
            }
        }
        let mut stream = Stream::new(4, "test", "tables");
        for thread in THREADS {
            let mut bindings = example();
            for (slot, template) in thread.bind {
                check(template, &bindings);
                let value = expand(template, &bindings, &mut stream).unwrap();
                bindings.set(slot, value);
            }
            check(thread.unique, &bindings);
            for template in [thread.plant, thread.remind, thread.recall].into_iter().flatten() {
                check(template, &bindings);
            }
            assert!(bindings.get(thread.secret).is_some(), "{}", thread.name);
        }
    }

    #[test]
    fn sentences_begin_with_capital_letters() {
        for story in stories(300) {
            for (at, _) in story.text.match_indices(['.', '!', '?']) {
                let mut rest = story.text[at + 1..].chars();
                let (Some(' ' | '\n'), Some(next)) = (rest.next(), rest.next()) else { continue };
                // An exclamation inside quotes goes on in small letters: "Wow!" he cried.
                let after = &story.text[at.saturating_sub(4)..];
                let abbreviated =
                    after.starts_with("Mr") || after.contains("Mr.") || after.contains("Mrs.");
                assert!(
                    !next.is_lowercase() || abbreviated,
                    "{}",
                    &story.text[at.saturating_sub(60)..at + 3]
                );
            }
        }
    }

    #[test]
    fn every_fact_that_is_told_is_needed_later_once() {
        let mut gaps = Vec::new();
        let mut kinds = BTreeSet::new();
        for story in stories(400) {
            assert!(!story.returns.is_empty());
            let paragraphs: Vec<_> = story.text.split("\n\n").collect();
            let mut given = 0;
            for r in &story.returns {
                assert!(r.told_at < r.needed_at);
                gaps.push(r.needed_at - r.told_at);
                kinds.insert(r.thread);
                let paragraph = paragraphs[r.paragraph].to_lowercase();
                given += usize::from(paragraph.contains(&r.secret.to_lowercase()));
            }
            // The count less one is told instead of the count itself; nothing else is left out.
            let counts = story.returns.iter().filter(|r| r.thread == "number in a jar").count();
            assert!(given + counts >= story.returns.len(), "{:#?}", story.returns);
        }
        assert_eq!(kinds.len(), THREADS.len());
        gaps.sort_unstable();
        // Hundreds of words in the middle, thousands at the end.
        assert!(gaps[gaps.len() / 2] > 150, "{}", gaps[gaps.len() / 2]);
        assert!(gaps[gaps.len() * 95 / 100] > 1000, "{}", gaps[gaps.len() * 95 / 100]);
        assert!(gaps[gaps.len() - 1] > 4000);
    }

    #[test]
    fn no_two_facts_of_a_story_contradict_each_other() {
        for story in stories(300) {
            let keys: BTreeSet<_> = story.returns.iter().map(|r| (r.thread, &r.unique)).collect();
            assert_eq!(keys.len(), story.returns.len(), "{:#?}", story.returns);
        }
    }

    #[test]
    fn the_first_fact_is_needed_last() {
        for story in stories(300) {
            let first = story.returns.iter().map(|r| r.told_at).min();
            assert_eq!(story.returns.last().map(|r| r.told_at), first);
        }
    }

    #[test]
    fn lengths_are_spread_from_a_hundred_to_thousands_of_words() {
        let mut lengths: Vec<usize> =
            stories(1000).iter().map(|s| s.text.split_whitespace().count()).collect();
        lengths.sort_unstable();
        assert!((60..=160).contains(&lengths[20]), "{}", lengths[20]);
        assert!((500..=1100).contains(&lengths[500]), "{}", lengths[500]);
        assert!((4000..=6500).contains(&lengths[980]), "{}", lengths[980]);
        assert!(lengths[999] < 7000, "{}", lengths[999]);
    }

    #[test]
    fn stories_differ_and_the_splits_share_none() {
        let train: BTreeSet<String> = stories(3000).into_iter().map(|s| s.text).collect();
        assert_eq!(train.len(), 3000);
        assert!((0..500).all(|index| !train.contains(&write("validation", index).text)));
    }

    #[test]
    fn the_vocabulary_is_a_child_s_but_not_tiny() {
        let words: BTreeSet<String> = stories(1000)
            .iter()
            .flat_map(|story| story.text.split(|c: char| !c.is_alphabetic()))
            .map(str::to_lowercase)
            .collect();
        assert!((1200..4000).contains(&words.len()), "{}", words.len());
    }

    #[test]
    fn stories_are_fixed_for_a_version() {
        // A change here changes results: raise VERSION with it.
        let mut hasher = blake3::Hasher::new();
        for index in [0, 1, 2, 3, u64::MAX] {
            for split in SPLITS {
                hasher.update(write(split, index).text.as_bytes());
            }
        }
        assert_eq!(
            (VERSION, hasher.finalize().to_hex().as_str()),
            (1, "17b8cf3f5986637922c94c56df37a519d111956272ff2e7c801278f5ad4fecb0")
        );
    }
}
