//! Who the stories are about.

/// Someone in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Character {
    pub(super) name: &'static str,
    /// girl, boy, mouse, …
    pub(super) kind: &'static str,
    /// he, she.
    pub(super) he: &'static str,
    /// him, her.
    pub(super) him: &'static str,
    /// his, her.
    pub(super) his: &'static str,
}

const fn girl(name: &'static str) -> Character {
    Character { name, kind: "girl", he: "she", him: "her", his: "her" }
}

const fn boy(name: &'static str) -> Character {
    Character { name, kind: "boy", he: "he", him: "him", his: "his" }
}

const fn she(name: &'static str, kind: &'static str) -> Character {
    Character { name, kind, he: "she", him: "her", his: "her" }
}

const fn he(name: &'static str, kind: &'static str) -> Character {
    Character { name, kind, he: "he", him: "him", his: "his" }
}

/// Everyone who can be in a story.
pub(super) const CHARACTERS: &[Character] = &[
    girl("Mia"),
    girl("Lily"),
    girl("Nora"),
    girl("Ada"),
    girl("Ruby"),
    girl("Ella"),
    girl("Zoe"),
    girl("Ivy"),
    girl("Hazel"),
    girl("Clara"),
    girl("June"),
    girl("Tess"),
    girl("Wren"),
    girl("Maya"),
    girl("Olive"),
    girl("Poppy"),
    boy("Tom"),
    boy("Ben"),
    boy("Sam"),
    boy("Max"),
    boy("Leo"),
    boy("Finn"),
    boy("Jack"),
    boy("Otto"),
    boy("Hugo"),
    boy("Noah"),
    boy("Eli"),
    boy("Theo"),
    boy("Omar"),
    boy("Kit"),
    boy("Felix"),
    boy("Milo"),
    she("Dot", "mouse"),
    she("Pearl", "duck"),
    she("Fern", "rabbit"),
    she("Mabel", "goat"),
    she("Sage", "owl"),
    she("Tilly", "frog"),
    she("Bella", "bear"),
    she("Nutmeg", "squirrel"),
    he("Pip", "mouse"),
    he("Rusty", "fox"),
    he("Bramble", "hedgehog"),
    he("Barnaby", "badger"),
    he("Clover", "donkey"),
    he("Hopper", "frog"),
    he("Duke", "dog"),
    he("Whiskers", "cat"),
];
