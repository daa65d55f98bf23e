//! Openings, scenes, travel, the passing of time, and closings.
//!
//! Story-wide slots: `{home}` the village, `{here}` where the cast is, `{today}` the day,
//! `{sky}` the weather. `{A}` and `{B}` are two of the cast, drawn anew for each paragraph.

/// The first paragraph. `{A}` and `{B}` stay the main characters.
pub(super) const OPENINGS: &[&str] = &[
    "Once upon a time, in the village of {home}, there lived a~{A.kind} called {A}. {^A.he} was {trait} and {trait}. {^A.his} best friend was a~{B.kind} called {B}.",
    "[Long ago|Many years ago|Not very long ago], a~{A.kind} named {A} lived in {home}. Everyone knew {A}, because {A.he} was so {trait}. A~{B.kind} named {B} lived next door.",
    "This is the story of {A} and {B}. {A} was a~{trait} {A.kind}, and {B} was a~{trait} {B.kind}. They lived in {home}, not far from {here}.",
    "It was {today}, and it was a~{sky} day in {home}. A~{A.kind} called {A} sat at {here} and waited for {A.his} friend, a~{B.kind} called {B}.",
    "In {home} there is a house with a~{color} roof. There lived {A}, a~{trait} {A.kind}. Every day {A.he} played with {B}, who was a~{trait} {B.kind}.",
];

/// Others of the cast join: `{A}` is new, `{B}` is known.
pub(super) const ARRIVALS: &[&str] = &[
    "A~{A.kind} came down the road. \"My name is {A},\" {A.he} said. \"May I come with you?\" \"Yes,\" said {B}. \"You look {trait}.\"",
    "{B} had another friend, a~{trait} {A.kind} called {A}. {^A.he} liked {food} and did not like {weather} days.",
    "Behind the fence they heard {sound}. It was {A}, a~{trait} {A.kind}. {B} asked {A.him} to play with them.",
    "Then {A} came along. {A} was a~{A.kind} with a~{color} {garment}, and {A.he} was always {trait}.",
];

/// They go somewhere else: `{here}` is already the new place.
pub(super) const TRAVEL: &[&str] = &[
    "They walked to {here}. On the way they saw {many} {plant} and a~{adj} {animal}.",
    "\"Let's go to {here},\" said {A}. \"Good idea,\" said {B}, and off they went.",
    "After a while they came to {here}. It smelled of {smell}.",
    "{A} wanted to see {here}, so they took the path past {landmark}. It was [a long|a short|an easy|a steep] way.",
    "The road led them to {here}. {A} {verb}, and {B} {verb} too.",
    "It was getting late, but they went on to {here}. \"I have never been here before,\" said {B}. \"I have,\" said {A}.",
    "{A} ran ahead, and {B} followed. They did not stop until they reached {here}.",
];

/// A new day: `{today}` and `{sky}` are already the new day's.
pub(super) const MORNINGS: &[&str] = &[
    "The next day was {today}. It was {sky}. {A} woke up early and ate {food}.",
    "They went home and slept. When they woke up, it was {today}, and it was a~{sky} day.",
    "On {today} it was {sky}. {A} met {B} at {here}. \"Did you sleep well?\" asked {A}. \"I dreamed of a~{adj} {animal},\" said {B}.",
    "Night came, and the stars came out over {home}. Then the sun rose again, and it was {today}.",
];

/// What happens in between.
pub(super) const SCENES: &[&str] = &[
    "{A} found a~{adj} {thing} at {here}. \"What is it for?\" asked {B}. \"I think it is for {person},\" said {A}. They left it where it was.",
    "They played {game}. {A} won the first time, and {B} won the second time. \"One more game!\" said {A}.",
    "\"{shout}!\" cried {B}. A~{adj} {animal} was sitting on a~{thing}. It looked at them, and then it was gone.",
    "They heard {sound}. {A} held {A.his} breath. But it was only {person} with a~{adj} {thing}.",
    "{A} was {f=feeling}. \"Why are you so {f}?\" asked {B}. \"I do not know,\" said {A}. \"Some days are like that.\" {B} gave {A.him} a hug.",
    "They sat down and ate {x=food} and {food}. {B} gave the last of the {x} to a~{animal}.",
    "{^person} was at {here} too, carrying a~{adj} {x=thing}. \"Can you help me with this {x}?\" {A} and {B} helped, and they got {reward}.",
    "It was a~{sky} day. {A} drew a picture of a~{color} {x=animal}. \"That does not look like a~{x},\" said {B}. \"It looks like a~{animal}!\" They both laughed.",
    "A~{x=animal} was stuck in a~{thing}. {A} pulled, and {B} pushed, and at last the {x} was free. It {verb} and was gone.",
    "{A} and {B} had a quarrel. {A} wanted to play {x=game}, and {B} wanted to play {y=game}. In the end they played {y} first and {x} after that.",
    "\"Tell me a story,\" said {B}. So {A} told {B.him} about a~{trait} {x=animal} who lived in a~{adj} {thing} and ate only {food}. \"That was a good story,\" said {B}, \"but the poor {x}!\"",
    "{A} fell down and hurt {A.his} knee. {B} ran to {person} and came back with a~{color} bandage. Soon {A} could walk again.",
    "There were {many} {plant} at {here}. {A} picked {number} of them and made a crown for {B}.",
    "{B} could not find {B.his} {adj} {x=thing}. They looked in the {thing}, and they looked behind the {thing}. At last {A} saw that {B} was sitting on the {x}!",
    "{^person} told them that a~{adj} {x=animal} had been seen near {landmark}. They waited a long time, but no {x} came.",
    "{A} tried to carry a~{x=thing}, a~{y=thing} and a~{z=thing} all at once. First the {x} fell, then the {y} fell, and then the {z} fell on top of them.",
    "\"I can count the birds,\" said {A}. \"{^n=number} birds!\" \"No,\" said {B}. \"One of them is a leaf.\" So there were {n.less}.",
    "They made a fire and cooked {dish}. The smoke smelled of {smell}. {^person} came by and tasted it. \"It needs {ingredient},\" was all {person} said.",
    "The wind took the {garment} of {B} and blew it into a tree. {A} climbed up and got it down again. \"Thank you,\" said {B}. \"You are very {trait}.\"",
    "A~{color} butterfly sat down on the nose of {A}. {^A.he} did not dare to move. When it flew away, {A.he} {verb}.",
    "{B} threw a stone into the water. It jumped {number} times. {A} tried too, but {A.his} stone sank at once.",
    "\"Do you hear that?\" asked {A}. It was {sound}. \"It comes from {landmark},\" said {B}. They went to look, and found a~{animal} asleep in a~{thing}.",
    "{^x=person} was angry, because somebody had eaten all the {y=food}. \"It was not us,\" said {A}. Then they saw a~{animal} with a very fat belly. Even {x} had to laugh.",
    "They built a tower of stones. {A} put on a~{adj} one, and {B} put on a~{adj} one. It was as high as {landmark} before it fell over.",
    "{A} learned how to tie a knot. Over, under, and through. {B} tried it as well, but {B.his} knot came out {adj}.",
    "It began to [rain|snow|get dark|thunder far away]. They hid under a~{x=thing} and waited. \"It is nice under a~{x},\" said {B}. \"It is [dry|warm|quiet] here.\"",
    "{B} wanted to know why the sky was so {color}. {A} said that it was because of the clouds. \"And why are there clouds?\" asked {B}. {A} did not know.",
    "A~{adj} cart stopped at {here}. It was full of {x=small}. \"Take as many {x} as you can carry,\" said {person}.",
    "{A} had {number} {x=small} in {A.his} pocket. {^A.he} gave half of the {x} to {B}, because that is what friends do.",
    "\"Are we lost?\" asked {B}. \"No,\" said {A}. \"I know {landmark}. I have seen it before.\" {B} was {feeling} all the same.",
    "They met a~{x=animal} and a~{y=animal} who could not agree. \"I am faster,\" said the {x}. \"I am stronger,\" said the {y}. \"You are both very loud,\" said {A}.",
    "{^person} was painting a fence {c=color}. \"May we help?\" asked {B}. At the end of the day the fence was {c}, and so were their hands.",
];

/// The last paragraph.
pub(super) const CLOSINGS: &[&str] = &[
    "{A} and {B} went home to {home}. They were tired and {feeling}. It had been a good day.",
    "From that day on, {A} and {B} were the best of friends, and everybody in {home} knew it. The end.",
    "\"What shall we do tomorrow?\" asked {B}. \"The same again,\" said {A}, and they both laughed.",
    "So {A} learned that [a friend is worth more than gold|it is good to remember|a promise is a promise|even small things matter|it is never too late to say sorry]. And if you go to {home}, you may still meet {A.him} there.",
    "The sun went down behind {here}. {A} closed {A.his} eyes and thought of everything that had happened. Good night, {A}. Good night, {B}.",
];
