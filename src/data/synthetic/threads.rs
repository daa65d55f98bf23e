//! Facts that return: told once, needed again much later.
//!
//! `{A}` and `{B}` are two of the cast, the same at both ends. What `bind` draws is known to
//! `plant`, `remind` and `recall`. `remind` speaks of the matter without giving the fact away.
//! `unique` is what may not occur twice in a story, lest two facts contradict each other.

/// A kind of fact.
#[derive(Debug)]
pub(super) struct Thread {
    /// Name, for messages.
    pub(super) name: &'static str,
    /// Slots and the templates that fill them, in order.
    pub(super) bind: &'static [(&'static str, &'static str)],
    /// What can be told once a story.
    pub(super) unique: &'static str,
    /// The fact is told.
    pub(super) plant: &'static [&'static str],
    /// The matter comes up.
    pub(super) remind: &'static [&'static str],
    /// The fact is needed.
    pub(super) recall: &'static [&'static str],
    /// The slot whose value only the telling gives away.
    pub(super) secret: &'static str,
}

/// All kinds of facts.
pub(super) const THREADS: &[Thread] = &[
    Thread {
        name: "hidden treasure",
        bind: &[("what", "{material} {treasure}"), ("where", "{hiding}")],
        unique: "{what}",
        plant: &[
            "{A} had a~{what}, and {A.he} wanted to keep it safe. When nobody was looking, {A.he} hid it {where}. \"Only you and I will know,\" {A.he} whispered to {B}.",
            "\"Where shall we put the {what}?\" asked {B}. {A} thought for a while. Then {A.he} put it {where}. \"Nobody will ever look there,\" {A.he} said.",
            "[Early that day|Just then], {A} found a~{what} in the grass. {^A.he} did not want to lose it, so {A.he} hid it {where} and told only {B}.",
        ],
        remind: &[
            "\"Is the {what} still safe?\" asked {B}. {A} nodded. \"Nobody has found it.\"",
            "{A} thought about the {what} and smiled, because it was still a secret.",
        ],
        recall: &[
            "\"We need the {what} now,\" said {B}. \"Do you remember where you hid it?\" {A} remembered well. It was {where}. They looked, and there it was, just as {A.he} had left it.",
            "{A} wanted to show everybody the {what}. {^A.he} went back to the place where {A.he} had hidden it, {where}, and took it out. \"Here it is!\" {A.he} said.",
            "{B} had looked for the {what} everywhere and could not find it. {A} laughed. \"It is {where}, of course!\"",
        ],
        secret: "where",
    },
    Thread {
        name: "favorite color",
        bind: &[
            ("hue", "{color}"),
            ("item", "[ribbon|kite|balloon|lantern|cup|hat|umbrella|boat]"),
        ],
        unique: "{A}",
        plant: &[
            "{A} loved the color {hue} more than any other. {^A.his} bed was {hue}, {A.his} boots were {hue}, and even {A.his} spoon was {hue}.",
            "\"What is your favorite color?\" asked {B}. \"{^hue},\" said {A}. \"It has always been {hue}.\"",
        ],
        remind: &["\"I still like the same color best,\" said {A}."],
        recall: &[
            "There were {item}s in every color at the fair. {B} wanted to buy one for {A} and tried to remember {A.his} favorite color. Then {B.he} picked the {hue} {item}. {A} was delighted.",
            "{A} could choose any {item} {A.he} liked. Nobody was surprised when {A.he} took the {hue} one.",
            "{B} made a~{item} for {A}. {^B.he} painted it {hue}, because that was the color {A} loved most.",
        ],
        secret: "hue",
    },
    Thread {
        name: "promise",
        bind: &[
            ("who", "{person}"),
            (
                "gift",
                "[a jar of honey|a bunch of violets|a warm blanket|a fresh loaf of bread|a pot of ink|a ball of yarn|a bag of seeds|a new broom|a bottle of milk|a box of candles|a pair of gloves|a letter from the sea]",
            ),
        ],
        unique: "{who}",
        plant: &[
            "On the way they met {who}, who looked [sad|tired|lonely]. \"I promise to bring you {gift},\" said {A}. \"You will see. I never forget a promise.\"",
            "{^who} had helped {A} when nobody else would. \"One day I will bring you {gift},\" {A} promised. {B} heard it too.",
        ],
        remind: &[
            "{A} had not forgotten what {A.he} had promised to {who}.",
            "\"You still have a promise to keep,\" {B} said to {A}.",
        ],
        recall: &[
            "{A} knocked at the door of {who}. \"I promised to bring you {gift},\" {A.he} said, \"and here I am.\" {^who} smiled from ear to ear.",
            "\"Did you keep your promise to {who}?\" asked {B}. \"Yes,\" said {A}. \"I brought {gift}, just as I said I would.\"",
        ],
        secret: "gift",
    },
    Thread {
        name: "password",
        bind: &[
            ("word", "{color} {vegetable}"),
            (
                "door",
                "[the tree house|the secret cave|the cellar|the clubhouse|the tower|the boat shed|the attic]",
            ),
        ],
        unique: "{door}",
        plant: &[
            "\"To go into {door}, you must say the secret words,\" said {A}. {^A.he} bent down to {B} and whispered, \"The words are {word}. Don't tell anyone!\"",
            "{A} and {B} made a rule. Nobody could enter {door} without the secret words, and the secret words were \"{word}\". They laughed so hard that they had to sit down.",
        ],
        remind: &[
            "\"Do not forget the secret words for {door},\" said {A}. \"I won't,\" said {B}.",
        ],
        recall: &[
            "They stood in front of {door}. \"What are the secret words?\" asked {A}. {B} did not have to think. \"{^word}!\" And the door swung open.",
            "The door of {door} was shut. {B} knocked and said the secret words, \"{word}\", and {A} let {B.him} in.",
        ],
        secret: "word",
    },
    Thread {
        name: "number in a jar",
        bind: &[
            ("n", "{number}"),
            ("what", "{small}"),
            ("vessel", "[jar|basket|tin|drawer|sack|bowl|wooden box]"),
        ],
        unique: "{what}",
        plant: &[
            "{A} had a~{vessel} of {what}. {^A.he} counted them: {n.count}. There were {n} {what}, and {A.he} closed the {vessel} carefully.",
            "\"Help me count the {what},\" said {A}. {B} put them into the {vessel} one by one. {^n.count}. \"There are {n},\" said {B}.",
        ],
        remind: &["The {vessel} with the {what} stood where it had always stood."],
        recall: &[
            "\"How many {what} were in the {vessel}?\" asked {B}. \"There were {n},\" said {A}. They opened it and counted: {n.count}. Not one was missing.",
            "A squirrel had been at the {vessel}. Before, there had been {n} {what}. {A} counted them again: {n.less.count}. \"One is gone,\" {A.he} said. \"Now there are only {n.less}.\"",
        ],
        secret: "n",
    },
    Thread {
        name: "way",
        bind: &[
            (
                "goal",
                "[the dragon's cave|the hidden lake|the witch's cottage|the giant's garden|the crystal spring|the sleeping tower|the island of cats|the queen's maze]",
            ),
            ("here1", "{landmark}"),
            ("here2", "{landmark}"),
            ("here3", "{landmark}"),
            ("first", "[left|right] at {here1}"),
            ("second", "[left|right] at {here2}"),
            ("third", "straight on past {here3}"),
        ],
        unique: "{goal}",
        plant: &[
            "\"How do we get to {goal}?\" asked {A}. An old woman pointed with her stick. \"Go {first}, then {second}, then {third}.\" {B} said it over and over so as not to forget it.",
            "There was a map on the wall. {A} read it aloud. \"The way to {goal}: {first}. Then {second}. Then {third}.\" \"That is easy,\" said {B}.",
        ],
        remind: &["\"One day we will go to {goal},\" said {B}. \"I still know the way.\""],
        recall: &[
            "At last {A} and {B} set out for {goal}. They remembered every turn. They went {first}. They went {second}. They went {third}. And there it was, right in front of them!",
            "\"Which way is it to {goal}?\" a traveler asked. {A} knew. \"Go {first}, then {second}, then {third}.\" The traveler thanked {A.him} and went off.",
        ],
        secret: "first",
    },
    Thread {
        name: "song",
        bind: &[
            ("tune", "{syllable} {syllable} {syllable}, {syllable} {syllable} {syllable}"),
            ("teacher", "{person}"),
        ],
        unique: "{teacher}",
        plant: &[
            "{^teacher} taught {A} a funny song. It went, \"{tune}!\" {A} sang it until {B} put {B.his} hands over {B.his} ears.",
            "\"When I am scared, I sing a song that {teacher} taught me,\" said {A}. \"It goes like this: {tune}!\"",
        ],
        remind: &["{A} almost began to sing the song of {teacher}, but it was not the right time."],
        recall: &[
            "Then {A} thought of the song that {teacher} had taught {A.him}, and began to sing. \"{^tune}!\" After a while {B} sang too: \"{^tune}!\"",
            "\"How did the song of {teacher} go?\" asked {B}. {A} sang it at once. \"{^tune}!\"",
        ],
        secret: "tune",
    },
    Thread {
        name: "recipe",
        bind: &[
            ("dish", "{adj} {dish}"),
            ("one", "{ingredient}"),
            ("two", "{ingredient}"),
            ("three", "{ingredient}"),
        ],
        unique: "{dish}",
        plant: &[
            "{A} found a recipe for {dish} in an old book. It said: take {one}, {two} and {three}. \"That is all we need,\" said {B}.",
            "\"My {dish} is the best in the land,\" said {A}. \"The secret is {one}, {two} and {three}. You must stir it with a wooden spoon.\"",
        ],
        remind: &["{B} was already looking forward to the {dish}."],
        recall: &[
            "It was time to make the {dish}. First {A} took {one}. Then {B} brought {two}. Last of all they put in {three}, and soon the whole house smelled good.",
            "\"What goes into your {dish}?\" asked {B}. \"{^one}, {two} and {three},\" said {A}. \"I told you before.\"",
        ],
        secret: "one",
    },
    Thread {
        name: "maker",
        bind: &[("wear", "{color} {garment}"), ("maker", "{person}")],
        unique: "{wear}",
        plant: &[
            "{A} wore a~{wear}. It was a present from {maker}, who had worked on it for [a whole week|a month|three long nights].",
            "\"What a~{wear}!\" said {B}. \"Who made it?\" \"It was {maker},\" said {A}. \"I wear it every day.\"",
        ],
        remind: &["The wind was cold, and {A} was glad to have the {wear}."],
        recall: &[
            "A boy on the road looked at the {wear} of {A}. \"I want one too. Who made it for you?\" \"It was {maker},\" said {A}.",
            "There was a hole in the {wear}. \"We must take it back to the one who made it,\" said {B}. So they brought it to {maker}, who mended it in no time.",
        ],
        secret: "maker",
    },
    Thread {
        name: "only food",
        bind: &[
            ("beast", "{adj} {animal}"),
            ("meal", "{food}"),
            (
                "call",
                "[Button|Captain|Cloud|Daisy|Dusty|Ginger|Lucky|Marble|Muffin|Pepper|Pickle|Shadow|Snowball|Thunder|Toffee|Turnip|Waffle|Ziggy]",
            ),
        ],
        unique: "{call}",
        plant: &[
            "{A} had a~{beast} called {call}. {call} was very picky and would eat nothing but {meal}.",
            "They met a~{beast} that belonged to nobody. {A} named it {call}. They gave it bread, and it turned away. They gave it fish, and it turned away. But when they gave it {meal}, it ate and ate.",
        ],
        remind: &[
            "{call} followed them all the way.",
            "\"Good {call},\" said {B} and stroked the {beast}.",
        ],
        recall: &[
            "{call} was hungry again. {B} held out a fish, but {call} would not touch it. \"Don't you remember?\" said {A}. \"{call} eats only {meal}.\" And so it was.",
            "{call} had run away! {A} knew what to do. {^A.he} put {meal} on the step, because {call} ate nothing else. Soon {call} came back.",
        ],
        secret: "meal",
    },
    Thread {
        name: "fear",
        bind: &[("dread", "{fear}")],
        unique: "{A}",
        plant: &[
            "There was one thing that nobody knew about {A}. {^A.he} was afraid of {dread}. {^A.he} told only {B}, very quietly.",
            "\"I am not afraid of anything,\" said {B}. \"I am,\" said {A}. \"I am afraid of {dread}.\" {B} did not laugh.",
        ],
        remind: &["\"Everyone is afraid of something,\" {B} told {A}."],
        recall: &[
            "{B} remembered that {A} was afraid of {dread}. So {B.he} took {A.his} hand and said, \"We will do it together.\" After that day, {A} was not afraid of {dread} any more.",
            "\"Are you still afraid of {dread}?\" asked {B}. {A} thought about it. \"Only a little,\" {A.he} said.",
        ],
        secret: "dread",
    },
    Thread {
        name: "boat name",
        bind: &[
            ("craft", "[boat|raft|sled|wagon|kite|balloon|toy train]"),
            (
                "title",
                "the [Sea|Moon|Star|Wind|Storm|Honey|River|Cloud|Pepper|Summer] [Button|Duck|Dancer|Whale|Queen|Biscuit|Feather|Rocket|Cricket|Giant]",
            ),
        ],
        unique: "{craft}",
        plant: &[
            "{A} and {B} built a~{craft} out of [old boards|boxes and string|things they had found]. \"It needs a name,\" said {B}. \"Let us call it {title},\" said {A}, and {A.he} painted the name on the side.",
            "{A} was very proud of {A.his} {craft}. It was called {title}, and it was the fastest {craft} in the village.",
        ],
        remind: &["The {craft} was waiting for them at home."],
        recall: &[
            "They took out the {craft} again. On its side, in big letters, stood its name: {title}. {B} gave it a push, and off it went.",
            "\"What is your {craft} called?\" a girl wanted to know. \"It is {title},\" said {A} proudly.",
        ],
        secret: "title",
    },
    Thread {
        name: "wish",
        bind: &[("dream", "{wish}")],
        unique: "{A}",
        plant: &[
            "{A} looked up at the first star. \"I have only one wish,\" {A.he} said. \"I want {dream}.\"",
            "\"If you could have one wish, what would it be?\" asked {B}. {A} knew it at once. \"I wish {dream},\" {A.he} said.",
        ],
        remind: &["{A} had not told anyone else about {A.his} wish."],
        recall: &[
            "And do you know what? The wish of {A} came true. {^A.he} had wanted {dream}, and that was just what happened.",
            "{B} remembered the wish of {A}. {^A.he} had wanted {dream}. \"Today is the day,\" said {B}, and {B.he} was right.",
        ],
        secret: "dream",
    },
    Thread {
        name: "borrowed",
        bind: &[("what", "{adj} {thing}"), ("owner", "{person}"), ("when", "{day}")],
        unique: "{what}",
        plant: &[
            "{A} borrowed a~{what} from {owner}. \"You must give it back on {when},\" said {owner}. \"I will,\" said {A}.",
            "\"May I borrow your {what}?\" {A} asked {owner}. \"You may, but I need it again on {when}.\"",
        ],
        remind: &[
            "The {what} was very useful.",
            "\"Be careful with the {what},\" said {B}. \"It isn't ours.\"",
        ],
        recall: &[
            "\"Whose {what} is this?\" asked {B}. \"It belongs to {owner},\" said {A}. \"I must give it back on {when}.\" So they gave it back, and {owner} was pleased.",
            "{A} brought the {what} back to {owner}, because {A.he} had said {A.he} would do it on {when}.",
        ],
        secret: "owner",
    },
    Thread {
        name: "swap",
        bind: &[("mine", "{color} {thing}"), ("yours", "{color} {thing}")],
        unique: "{mine}",
        plant: &[
            "{A} had a~{mine}, and {B} had a~{yours}. \"Let's swap,\" said {B}. So {A} took the {yours}, and {B} took the {mine}. Both were happy.",
            "{B} liked the {mine} that {A} had. {A} liked the {yours} that {B} had. They swapped, so now the {yours} belonged to {A} and the {mine} belonged to {B}.",
        ],
        remind: &["They were both glad that they had swapped."],
        recall: &[
            "Somebody had left a~{mine} outside. \"That is mine,\" said {B}. \"I gave {A} my {yours} for it.\"",
            "\"Do you still have the thing I gave you?\" asked {B}. \"The {yours}? Yes,\" said {A}. \"And do you still have my {mine}?\" \"Of course,\" said {B}.",
        ],
        secret: "yours",
    },
    Thread {
        name: "riddle",
        bind: &[
            ("asker", "{person}"),
            (
                "riddle",
                "[I have hands but cannot clap|I have teeth but cannot bite|I have a neck but no head|I fall but never get hurt|I go up but never come down|I have keys but open no door|I get wetter the more I dry|I have one eye but cannot see]",
            ),
        ],
        unique: "{riddle}",
        plant: &[
            "{^asker} stopped them with a riddle. \"{riddle}. What am I?\" {A} did not know, and {B} did not know. \"Come back when you do,\" said {asker}.",
        ],
        remind: &["{A} was still thinking about the riddle of {asker}."],
        recall: &[
            "Suddenly {A} jumped up. \"The riddle of {asker}!\" {A.he} cried. \"{riddle}. I know what it is!\" {^A.he} ran all the way to {asker} and gave the answer, and it was right.",
            "\"How did the riddle go that {asker} asked us?\" said {B}. {A} knew it by heart. \"{riddle}.\"",
        ],
        secret: "riddle",
    },
    Thread {
        name: "planted seeds",
        bind: &[
            ("crop", "{vegetable}"),
            (
                "spot",
                "[behind the shed|next to the well|along the south wall|under the kitchen window|beside the pond|at the end of the lane]",
            ),
            ("n", "{number}"),
        ],
        unique: "{crop}",
        plant: &[
            "{A} and {B} planted {n} rows of {crop} {spot}. \"Now we must wait,\" said {A}.",
            "{A} took a bag of seeds and a rake. {^A.he} planted {crop} {spot}, {n} rows of them, and {B} brought the water.",
        ],
        remind: &["It rained a little, and that was good for the {crop}."],
        recall: &[
            "They went to see what had become of the seeds that they had planted {spot}. There were {n} rows of green leaves. \"Look, the {crop} are ready!\" said {A}.",
            "\"I want to make soup,\" said {B}. \"Where did we plant the {crop}?\" \"They grow {spot},\" said {A}. \"There are {n} rows of them.\"",
        ],
        secret: "spot",
    },
    Thread {
        name: "meeting",
        bind: &[("who", "{person}"), ("where", "{place}"), ("when", "{day}")],
        unique: "{who}",
        plant: &[
            "A letter came for {A}. It was from {who}. \"Meet me at {where} on {when},\" it said. \"Bring {B} with you.\"",
            "\"I must tell you something important,\" {who} said to {A}. \"But not here. Come to {where} on {when}.\"",
        ],
        remind: &["\"What does {who} want from us?\" {B} wondered."],
        recall: &[
            "{A} had not forgotten the meeting with {who}. They were to come to {where} on {when}. {^who} was already waiting, and gave each of them {reward}.",
            "\"Where were we going to meet {who}?\" asked {B}. \"At {where},\" said {A}, \"on {when}.\"",
        ],
        secret: "where",
    },
];
