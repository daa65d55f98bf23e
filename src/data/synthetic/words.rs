//! The word lists of the stories.

/// The list that a template names.
pub(super) fn list(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "adj" => ADJECTIVES,
        "animal" => ANIMALS,
        "color" => COLORS,
        "day" => DAYS,
        "dish" => DISHES,
        "fear" => FEARS,
        "feeling" => FEELINGS,
        "food" => FOODS,
        "game" => GAMES,
        "garment" => GARMENTS,
        "hiding" => HIDING_PLACES,
        "ingredient" => INGREDIENTS,
        "landmark" => LANDMARKS,
        "many" => MANY,
        "material" => MATERIALS,
        "number" => NUMBERS_TO_COUNT,
        "person" => PEOPLE,
        "place" => PLACES,
        "plant" => PLANTS,
        "reward" => REWARDS,
        "shout" => SHOUTS,
        "small" => SMALL_THINGS,
        "smell" => SMELLS,
        "sound" => SOUNDS,
        "syllable" => SYLLABLES,
        "thing" => THINGS,
        "trait" => TRAITS,
        "treasure" => TREASURES,
        "vegetable" => VEGETABLES,
        "verb" => VERBS,
        "village" => VILLAGE_STARTS,
        "villageend" => VILLAGE_ENDS,
        "weather" => WEATHER,
        "wish" => WISHES,
        _ => return None,
    })
}

/// Number words in order, for counting.
pub(super) const NUMBERS: &[&str] = &[
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];

/// Numbers worth counting to.
const NUMBERS_TO_COUNT: &[&str] =
    &["three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// The days, in order.
pub(super) const DAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const TRAITS: &[&str] = &[
    "brave", "careful", "cheerful", "clever", "curious", "dreamy", "funny", "gentle", "grumpy",
    "helpful", "honest", "hungry", "kind", "lazy", "loud", "messy", "neat", "patient", "proud",
    "quick", "quiet", "shy", "silly", "sleepy", "stubborn", "tall", "tiny", "wise",
];

const FEELINGS: &[&str] = &[
    "happy",
    "sad",
    "tired",
    "proud",
    "surprised",
    "worried",
    "excited",
    "calm",
    "lonely",
    "hungry",
    "curious",
    "thankful",
];

const COLORS: &[&str] = &[
    "red", "blue", "green", "yellow", "purple", "orange", "pink", "white", "black", "brown",
    "gray", "golden", "silver",
];

const ADJECTIVES: &[&str] = &[
    "big", "broken", "bright", "clean", "cold", "crooked", "dirty", "dusty", "empty", "fancy",
    "fat", "funny", "heavy", "huge", "little", "long", "lovely", "muddy", "new", "noisy", "old",
    "plain", "pretty", "rough", "round", "sharp", "shiny", "short", "smooth", "soft", "sticky",
    "strange", "striped", "tall", "thin", "tiny", "warm", "wet", "wide", "wooden",
];

const MATERIALS: &[&str] = &[
    "brass", "clay", "copper", "glass", "iron", "leather", "paper", "silver", "stone", "straw",
    "tin", "wooden", "woolen",
];

const THINGS: &[&str] = &[
    "ball",
    "basket",
    "bell",
    "blanket",
    "boat",
    "book",
    "bottle",
    "bowl",
    "box",
    "broom",
    "brush",
    "bucket",
    "candle",
    "cart",
    "chair",
    "clock",
    "cup",
    "doll",
    "drum",
    "flag",
    "flute",
    "hammer",
    "hat",
    "jar",
    "kite",
    "ladder",
    "lamp",
    "map",
    "mirror",
    "net",
    "pan",
    "pencil",
    "pillow",
    "plate",
    "pot",
    "puppet",
    "rope",
    "sack",
    "shovel",
    "sled",
    "spoon",
    "stool",
    "table",
    "top",
    "toy train",
    "umbrella",
    "wagon",
    "wheel",
    "whistle",
];

const TREASURES: &[&str] = &[
    "key",
    "coin",
    "ring",
    "button",
    "medal",
    "locket",
    "compass",
    "marble",
    "whistle",
    "letter",
    "feather",
    "music box",
    "necklace",
    "thimble",
    "spyglass",
    "bell",
    "crown",
    "star",
];

const SMALL_THINGS: &[&str] = &[
    "acorns",
    "beads",
    "buttons",
    "cherries",
    "coins",
    "cookies",
    "eggs",
    "feathers",
    "marbles",
    "nuts",
    "pebbles",
    "pinecones",
    "plums",
    "shells",
    "stamps",
    "walnuts",
];

const GARMENTS: &[&str] = &[
    "scarf",
    "hat",
    "coat",
    "sweater",
    "cape",
    "apron",
    "vest",
    "shawl",
    "pair of mittens",
    "pair of socks",
];

const HIDING_PLACES: &[&str] = &[
    "under the third stone by the well",
    "behind the clock in the kitchen",
    "inside the hollow oak",
    "at the bottom of the flour jar",
    "under the bridge",
    "in the pocket of an old coat",
    "between two books on the top shelf",
    "under a pile of dry leaves",
    "inside a blue teapot",
    "beneath the loose floorboard",
    "in the scarecrow's sleeve",
    "behind the waterfall",
    "under the pillow in the attic",
    "in the nest of a magpie",
    "inside the church bell",
    "below the window box",
    "in a boot by the back door",
    "under the beehive",
    "inside the piano",
    "behind the third picture in the hall",
    "in the sugar bowl",
    "under the rowing boat",
    "in a crack of the garden wall",
    "beneath the rose bush",
    "inside the chimney",
    "at the top of the ladder",
    "in the saddle bag",
    "behind the barrel of apples",
];

const PLACES: &[&str] = &[
    "the old mill",
    "the duck pond",
    "the market",
    "the bakery",
    "the pine forest",
    "the beach",
    "the apple orchard",
    "the library",
    "the schoolyard",
    "the windmill",
    "the hay barn",
    "the river",
    "the lighthouse",
    "the meadow",
    "the garden",
    "the harbor",
    "the toy shop",
    "the hill",
    "the cave",
    "the stone bridge",
    "the castle ruins",
    "the farm",
    "the station",
    "the greenhouse",
    "the playground",
    "the tree house",
    "the lake",
    "the blacksmith's shop",
];

const LANDMARKS: &[&str] = &[
    "the white fence",
    "the broken gate",
    "the tall chimney",
    "the stone lion",
    "the red barn",
    "the old pump",
    "the twin birches",
    "the fallen log",
    "the post office",
    "the church",
    "the rusty tractor",
    "the willow tree",
    "the round rock",
    "the wooden cross",
    "the blue door",
    "the fountain",
    "the scarecrow",
    "the sign with no words",
];

const VILLAGE_STARTS: &[&str] = &[
    "Apple", "Ash", "Bell", "Berry", "Brook", "Clover", "Crow", "Elm", "Fox", "Green", "Hazel",
    "Hill", "Lark", "Maple", "Mill", "Moss", "Oak", "Otter", "Pine", "River", "Rose", "Sand",
    "Stone", "Swan", "Thorn", "Willow", "Winter", "Wool",
];

const VILLAGE_ENDS: &[&str] = &[
    "bridge", "brook", "bury", "dale", "field", "ford", "ham", "haven", "hill", "mouth", "stead",
    "ton", "wick", "wood",
];

const ANIMALS: &[&str] = &[
    "ant",
    "bee",
    "bird",
    "butterfly",
    "calf",
    "crab",
    "crow",
    "deer",
    "dragonfly",
    "duckling",
    "goose",
    "horse",
    "kitten",
    "ladybug",
    "lamb",
    "lizard",
    "mole",
    "otter",
    "pig",
    "pony",
    "puppy",
    "raven",
    "seagull",
    "sheep",
    "snail",
    "sparrow",
    "swan",
    "turtle",
    "woodpecker",
];

const PLANTS: &[&str] = &[
    "daisies",
    "tulips",
    "sunflowers",
    "roses",
    "ferns",
    "violets",
    "bluebells",
    "ivy",
    "clover",
    "reeds",
    "poppies",
    "mushrooms",
    "thistles",
    "lavender",
];

const FOODS: &[&str] = &[
    "apples",
    "bread",
    "carrots",
    "cheese",
    "cherry pie",
    "corn",
    "grapes",
    "honey",
    "jam",
    "lemon cake",
    "melon",
    "muffins",
    "nuts",
    "oranges",
    "pancakes",
    "pears",
    "peas",
    "plums",
    "porridge",
    "raisins",
    "rice",
    "strawberries",
    "toast",
    "walnut bread",
];

const DISHES: &[&str] = &[
    "soup",
    "stew",
    "cake",
    "pie",
    "pudding",
    "bread",
    "jam",
    "salad",
    "porridge",
    "dumplings",
    "cookies",
    "tea",
];

const INGREDIENTS: &[&str] = &[
    "flour", "butter", "sugar", "salt", "milk", "cream", "cinnamon", "ginger", "mint", "honey",
    "lemons", "almonds", "raisins", "vanilla", "oats", "cocoa", "plums", "pepper",
];

const VEGETABLES: &[&str] = &[
    "turnips", "carrots", "cabbages", "beans", "onions", "potatoes", "pumpkins", "radishes",
    "tomatoes", "leeks", "beets", "peas",
];

const GAMES: &[&str] = &[
    "hide and seek",
    "tag",
    "catch",
    "hopscotch",
    "marbles",
    "pirates",
    "kings and queens",
    "follow the leader",
    "leapfrog",
    "shadow tag",
    "I spy",
    "tug of war",
];

const PEOPLE: &[&str] = &[
    "the baker",
    "the miller",
    "the teacher",
    "the farmer",
    "the mail carrier",
    "the fisherman",
    "the shoemaker",
    "the doctor",
    "the gardener",
    "the blacksmith",
    "the librarian",
    "the tailor",
    "the beekeeper",
    "the shepherd",
    "the painter",
    "the clockmaker",
    "Grandma Rose",
    "Grandpa Walt",
    "Aunt Flora",
    "Uncle Bert",
    "Mrs. Plum",
    "Mr. Finch",
    "Captain Gull",
    "Granny Oats",
];

const FEARS: &[&str] = &[
    "thunder",
    "the dark",
    "deep water",
    "spiders",
    "loud dogs",
    "high places",
    "geese",
    "owls",
    "the wind in the chimney",
    "bees",
    "the number thirteen",
    "masks",
];

const WISHES: &[&str] = &[
    "to see the sea",
    "to ride a horse",
    "to fly in a balloon",
    "to play the drum",
    "to grow a giant pumpkin",
    "to learn to swim",
    "to bake a perfect cake",
    "to climb the tallest tree",
    "to see snow in summer",
    "to sing on a stage",
    "to sail around the island",
    "to catch a falling star",
    "to write a book",
    "to win the sack race",
    "to find a fossil",
    "to learn to whistle",
];

const WEATHER: &[&str] =
    &["sunny", "rainy", "windy", "foggy", "cloudy", "snowy", "warm", "chilly", "stormy", "misty"];

const SOUNDS: &[&str] = &[
    "a soft tapping",
    "a loud crash",
    "a long whistle",
    "a tiny squeak",
    "a slow creak",
    "a splash",
    "a deep growl",
    "a jingle of bells",
    "a rustle in the leaves",
    "a far-off song",
    "a hum",
    "three quick knocks",
];

const SMELLS: &[&str] = &[
    "fresh bread",
    "wet leaves",
    "smoke",
    "salt and seaweed",
    "roses",
    "old books",
    "cut grass",
    "hot soup",
    "pine needles",
    "rain",
    "lavender soap",
    "apples and cinnamon",
];

const SHOUTS: &[&str] = &[
    "Hooray",
    "Oh no",
    "Look",
    "Wait",
    "Come quick",
    "Goodness",
    "Hurry",
    "Wow",
    "Careful",
    "Listen",
];

const VERBS: &[&str] = &[
    "danced",
    "giggled",
    "hopped",
    "hummed",
    "jumped",
    "laughed",
    "nodded",
    "ran",
    "sang",
    "shivered",
    "skipped",
    "smiled",
    "sneezed",
    "spun around",
    "stretched",
    "waved",
    "whistled",
    "yawned",
];

const REWARDS: &[&str] = &[
    "a slice of cherry pie",
    "a ride on the hay wagon",
    "a bag of roasted nuts",
    "a new pencil",
    "a warm bun",
    "a ticket to the fair",
    "a jar of honey",
    "a paper crown",
    "a song",
    "a basket of plums",
    "a seat by the fire",
    "a cup of hot cocoa",
];

const MANY: &[&str] =
    &["a few", "some", "many", "a lot of", "a basket of", "a handful of", "a row of", "a pile of"];

const SYLLABLES: &[&str] = &[
    "bim", "bola", "dilly", "doo", "fala", "fizz", "hey", "hocus", "jig", "kala", "lulla", "mimba",
    "nonny", "oola", "pocus", "pom", "rumba", "shim", "tiddle", "tralla", "umpa", "wimble",
    "yodel", "zoom",
];
