"""The clauses that the embedded dataset's reviews are put together from: what there is to say, and how it is said."""

from dataclasses import dataclass
from typing import NamedTuple


class Aspect(NamedTuple):
    """A side of an item that reviews talk about: a singular noun, and clauses for and against it."""

    name: str
    good: tuple[str, ...]
    bad: tuple[str, ...]

    def clauses(self, side: str) -> tuple[str, ...]:
        """The clauses for (`good`) or against (`bad`)."""
        return self.good if side == "good" else self.bad


class Kind(NamedTuple):
    """A kind of item. One word of each of `slots` fills the templates; `name` is used inside sentences."""

    noun: str
    title: str
    name: str
    description: str
    slots: dict[str, tuple[str, ...]]
    trial: str
    stories: tuple[str, ...]
    aspects: tuple[Aspect, ...]


class Register(NamedTuple):
    """Word choice. A claim is a clause about `{aspect}`; a frame holds the clause that backs it up."""

    openers: tuple[str, ...]
    frames: tuple[str, ...]
    claims: dict[str, tuple[str, ...]]
    words: dict[str, tuple[str, ...]]
    verdicts: dict[str, tuple[str, ...]]
    titles: dict[str, tuple[str, ...]]


class Tone(NamedTuple):
    """Feeling: the adverb before an adjective, how kindly ratings turn out, and a remark for each mood."""

    adverbs: tuple[str, ...]
    leniency: float
    remarks: dict[str, tuple[str, ...]]


class Punctuation(NamedTuple):
    """How claim and reason are joined (`Reason` has a capital), and how often `stop` ends a sentence."""

    joint: str
    stop: str
    stop_share: float
    lower: bool = False


class Length(NamedTuple):
    """How many aspects a review goes into, and how many stories and asides come with them."""

    aspects: int
    stories: int
    asides: int
    opener: bool


# --- What there is to say: the items ---------------------------------------------------------------------


FIRST_NAMES = (
    "Ines",
    "Tobias",
    "Maud",
    "Kwame",
    "Liesel",
    "Arun",
    "Petra",
    "Owen",
    "Sunniva",
    "Dario",
    "Noor",
    "Hal",
)
SURNAMES = (
    "Marrow",
    "Quill",
    "Adeyo",
    "Fenwick",
    "Storr",
    "Balan",
    "Okafor",
    "Lindqvist",
    "Pell",
    "Varga",
    "Thorne",
)
BRANDS = (
    "Hollin",
    "Tarnwick",
    "Osprey & Vale",
    "Kestle",
    "Brindle",
    "Nordhaven",
    "Pikelet",
    "Mossgate",
    "Ardent Oak",
)

NOVEL = Kind(
    noun="novel",
    title="The {adjective} {place} by {first} {last}",
    name="The {adjective} {place}",
    description=(
        "When {hero} comes home to {town}, nobody wants to talk about {secret}. As {season} closes in, "
        "the only way to learn the truth is to ask the one person who has every reason to lie. "
        "A novel of {theme} and {theme_two}, told over {span}."
    ),
    slots={
        "adjective": (
            "Salt",
            "Quiet",
            "Borrowed",
            "Crooked",
            "Ninth",
            "Paper",
            "Drowned",
            "Amber",
            "Hollow",
            "Winter",
        ),
        "place": (
            "Orchard",
            "Ferry",
            "Lantern",
            "Harbour",
            "Staircase",
            "Meadow",
            "Archive",
            "Bridge",
            "Granary",
            "Tide",
        ),
        "first": FIRST_NAMES,
        "last": SURNAMES,
        "hero": (
            "a retired schoolmistress",
            "a young botanist",
            "the judge's daughter",
            "an apprentice printer",
            "a widowed pilot",
        ),
        "town": (
            "a fishing village",
            "the old mill town",
            "an island without a harbour",
            "a valley cut off by snow",
        ),
        "secret": (
            "the fire at the school",
            "the missing ledger",
            "her brother's letters",
            "the night of the flood",
        ),
        "season": ("winter", "the rainy season", "harvest", "a long dry summer"),
        "theme": ("loyalty", "grief", "stubbornness", "small kindnesses", "debt"),
        "theme_two": ("forgiveness", "silence", "second chances", "old quarrels", "memory"),
        "span": ("a single week", "forty years", "three generations", "one night", "the length of a trial"),
    },
    trial="over two readings",
    stories=(
        "I read most of it {time}",
        "{companion} passed it on to me with the corner of one page turned down",
        "{companion} read it after me and we argued about it for a week",
        "My copy now has tea stains from {place}",
        "I opened it for one chapter and looked up an hour later, with cold feet",
    ),
    aspects=(
        Aspect(
            "pacing",
            (
                "the chapters stop just where you want the next one",
                "something changes on almost every page",
                "the slow parts are slow for a reason",
            ),
            (
                "the first hundred pages could have been forty",
                "the story stands still all through the middle",
                "the last fifty pages rush past things that needed room",
            ),
        ),
        Aspect(
            "dialogue",
            (
                "people talk past each other the way real families do",
                "you can tell who is speaking without being told",
                "the jokes come from the characters and not from the author",
            ),
            (
                "everyone speaks in the same voice",
                "the characters explain things that they both already know",
                "nobody has ever said such sentences aloud",
            ),
        ),
        Aspect(
            "ending",
            (
                "the last page made me go back to the first",
                "it answers what it should and leaves the rest alone",
                "the final scene changes how you see the whole family",
            ),
            (
                "the secret is easy to guess by chapter four",
                "a stranger turns up to solve everything",
                "it stops as though the printer had run out of paper",
            ),
        ),
        Aspect(
            "setting",
            (
                "you can smell the wood smoke and the wet wool",
                "the weather matters as much as any of the people",
                "the town feels as if it went on after the book is closed",
            ),
            (
                "the town could be anywhere",
                "the map at the front does not fit the story",
                "the place is described once and then forgotten",
            ),
        ),
        Aspect(
            "main character",
            (
                "her mistakes are the kind I would make",
                "I kept worrying about her between chapters",
                "you understand the lies even while you wince at them",
            ),
            (
                "things happen to her and she hardly seems to notice",
                "I never learned what she wanted",
                "her change of heart comes out of nowhere",
            ),
        ),
    ),
)

COOKBOOK = Kind(
    noun="cookbook",
    title="{food} {occasion}: {count} Recipes by {first} {last}",
    name="{food} {occasion}",
    description=(
        "{count} recipes for {cook}, from {dish} to {dish_two}. Every recipe was tested in a home kitchen "
        "with {limit}, and {extra} at the back helps you to plan the week. Hardback, with {pictures}."
    ),
    slots={
        "food": (
            "Beans",
            "Roots",
            "Dumplings",
            "Flatbreads",
            "Soups",
            "Pickles",
            "Plums",
            "Noodles",
            "Greens",
            "Barley",
        ),
        "occasion": (
            "for Tuesdays",
            "on a Small Stove",
            "after Work",
            "for a Crowd",
            "in Winter",
            "by Heart",
            "at Midnight",
        ),
        "count": ("60", "75", "80", "101", "120"),
        "first": FIRST_NAMES,
        "last": SURNAMES,
        "cook": (
            "people who come home late",
            "nervous beginners",
            "shared kitchens",
            "cooks with one good pan",
        ),
        "dish": (
            "a ten-minute lentil broth",
            "burnt-onion rice",
            "smoked aubergine toast",
            "a very plain omelette",
        ),
        "dish_two": ("a three-day plum cake", "stuffed cabbage", "hand-pulled noodles", "a pie for twelve"),
        "limit": (
            "two rings and a small oven",
            "no special equipment",
            "one sharp knife",
            "whatever was in season",
        ),
        "extra": (
            "a calendar of vegetables",
            "a table of substitutes",
            "a list of leftovers",
            "a shopping planner",
        ),
        "pictures": ("a photograph for every dish", "pen drawings throughout", "step-by-step photographs"),
    },
    trial="over a month of dinners",
    stories=(
        "I cook from it {time}, with the radio on",
        "{companion} asked for the same soup three times in one week",
        "{companion} ate the first attempt without a word, which tells you something",
        "It has lived on the counter in {place} ever since and has the stains to prove it",
        "I have given up two other books to make room for it on the shelf",
    ),
    aspects=(
        Aspect(
            "choice of recipes",
            (
                "I have marked more pages than I have left plain",
                "there is something for a full larder and for an empty one",
                "none of the dishes is in the other books I own",
            ),
            (
                "half of it is variations on the same stew",
                "most dishes need something I have to order",
                "there is almost nothing for two people",
            ),
        ),
        Aspect(
            "wording of the steps",
            (
                "it says what the pan should sound like, and that helps",
                "each step fits in your head while your hands are wet",
                "it warns you before the moment when things go wrong",
            ),
            (
                "step four mentions dough that nobody told me to make",
                "it says to cook until done and leaves you there",
                "the oven temperature is missing twice",
            ),
        ),
        Aspect(
            "seasoning",
            (
                "the amounts of salt are right the first time",
                "the spice mixes make cheap vegetables taste of something",
                "a squeeze of lemon always comes at the right moment",
            ),
            (
                "everything needed twice the spice",
                "the sweet dishes are far too sweet",
                "the salt is wrong in every soup that I tried",
            ),
        ),
        Aspect(
            "timing",
            (
                "thirty minutes means thirty minutes, chopping included",
                "the plan for the week leaves the evenings free",
                "the waiting times are marked, so you can start before work",
            ),
            (
                "a quick supper took me two hours",
                "the chopping is not counted at all",
                "the overnight rest is only mentioned at the end",
            ),
        ),
        Aspect(
            "binding",
            (
                "it lies flat on the counter by itself",
                "the pages can be wiped clean",
                "the ribbons save me from floury fingers",
            ),
            (
                "it snaps shut the moment you let go",
                "the spine cracked in the first week",
                "the grey print is hard to read under a kitchen light",
            ),
        ),
    ),
)

ALBUM = Kind(
    noun="album",
    title="{mood} {thing} by the {first} {last} {band}",
    name="{mood} {thing}",
    description=(
        "The {number} album by the {first} {last} {band}, recorded in {studio} with "
        "{players}. Ten songs about {subject}, from the hushed opener to {closer}. "
        "Produced with {sound}, and mixed to be heard from start to finish."
    ),
    slots={
        "mood": (
            "Slow",
            "Copper",
            "Northern",
            "Second-Hand",
            "Midnight",
            "Restless",
            "Blue",
            "Open",
            "Lowland",
            "Tin",
        ),
        "thing": (
            "Weather",
            "Telegrams",
            "Avenues",
            "Machines",
            "Gardens",
            "Signals",
            "Parades",
            "Rooms",
            "Kites",
            "Hymns",
        ),
        "first": FIRST_NAMES,
        "last": SURNAMES,
        "band": ("Trio", "Quartet", "Band", "Ensemble", "Duo"),
        "number": ("first", "second", "third", "long-awaited fourth"),
        "studio": (
            "a disused chapel",
            "a converted dairy",
            "a basement in one weekend",
            "a hall beside the railway",
        ),
        "players": (
            "two guests on strings",
            "a borrowed upright piano",
            "a four-piece horn section",
            "no overdubs at all",
        ),
        "subject": (
            "leaving the coast",
            "night trains",
            "growing older than one's parents",
            "the end of a long lease",
        ),
        "closer": (
            "an eleven-minute waltz",
            "a choir of neighbours",
            "a single held note",
            "a song for an empty room",
        ),
        "sound": (
            "old ribbon microphones",
            "very little compression",
            "a dry, close sound",
            "a wide and echoing sound",
        ),
    },
    trial="over a dozen listens on decent speakers",
    stories=(
        "I first heard one song of it in a waiting room and had to ask for the name",
        "{companion} put it on without telling me what it was",
        "{companion} now hums the third song without noticing",
        "It has been the sound of {place} for weeks",
        "I play it {time}, when nobody wants anything from me",
    ),
    aspects=(
        Aspect(
            "singing",
            (
                "every word can be heard, even the whispered ones",
                "the voice cracks once, at just the right place",
                "the harmonies in the chorus lift the whole song",
            ),
            (
                "the voice is buried under the guitars",
                "each line ends in the same little sob",
                "the high notes are a struggle for everyone involved",
            ),
        ),
        Aspect(
            "recording",
            (
                "you can hear the size of the room",
                "the bass is deep without growling",
                "the quiet parts stay quiet, as they should",
            ),
            (
                "it is so loud that nothing stands out",
                "there is a hiss on the last two songs",
                "the cymbals hurt at any volume",
            ),
        ),
        Aspect(
            "order of the songs",
            (
                "each song picks up where the one before it left off",
                "the fast one comes just when you need it",
                "it is worth hearing from start to finish",
            ),
            (
                "three slow songs in a row sent me to sleep",
                "the best song is hidden at the very end",
                "it feels like two records that were shuffled together",
            ),
        ),
        Aspect(
            "drumming",
            (
                "the brushes keep things moving without any fuss",
                "it pushes the second song along wonderfully",
                "the drummer knows when to leave a gap",
            ),
            (
                "it sounds like a box of cutlery",
                "the beat drags behind everyone else",
                "every fill is the same fill",
            ),
        ),
        Aspect(
            "booklet",
            (
                "the words are printed large enough to read",
                "the notes tell you who plays what and where",
                "the photographs of the studio are a treat",
            ),
            (
                "the words to two songs are missing",
                "the print is silver on white and cannot be read",
                "it came out of the sleeve in two pieces",
            ),
        ),
    ),
)

COFFEE_MAKER = Kind(
    noun="coffee maker",
    title="{brand} {model} {size}-Cup Coffee Maker, {colour}",
    name="the {brand} {model}",
    description=(
        "A {size}-cup filter coffee maker with {heater} and {jug}. {feature}, and {feature_two}. "
        "It switches itself off after {minutes} minutes. All loose parts go in the dishwasher. "
        "Guaranteed for {years} years."
    ),
    slots={
        "brand": BRANDS,
        "model": ("One", "Duo", "Classic", "Mk II", "Compact", "Morning", "400", "650"),
        "size": ("4", "6", "8", "10", "12"),
        "colour": ("Black", "Cream", "Brushed Steel", "Dark Green", "Brick Red"),
        "heater": ("a copper heating element", "a fast 1,400 watt heater", "two-stage heating"),
        "jug": ("a glass jug", "an insulated steel jug", "a jug with a drip-free spout"),
        "feature": (
            "The timer can be set a day ahead",
            "A dial sets the strength",
            "The water tank lifts off for filling",
        ),
        "feature_two": (
            "a light shows when it needs descaling",
            "the filter swings out to the side",
            "the lid closes softly",
        ),
        "minutes": ("30", "40", "60"),
        "years": ("2", "3", "5"),
    },
    trial="over three weeks of daily use",
    stories=(
        "It stands in {place} now, next to the bread bin",
        "{companion} used to make the coffee and has gladly retired",
        "{companion} worked out the timer before I had found the manual",
        "I mostly use it {time}, when I am not at my best",
        "The old machine died with a bang that {companion} still talks about",
    ),
    aspects=(
        Aspect(
            "taste of the coffee",
            (
                "cheap beans come out sweeter than before",
                "the last cup is as good as the first",
                "there is no trace of bitterness, even at full strength",
            ),
            (
                "everything tastes faintly of plastic",
                "it comes out thin however much I put in",
                "a full jug is bitter and a half jug is weak",
            ),
        ),
        Aspect(
            "pump",
            (
                "nobody in the next room wakes up",
                "it only mutters a little at the end",
                "you can talk over it without raising your voice",
            ),
            (
                "it gurgles like a drain",
                "its last groan could wake the street",
                "it rattles until the cups move",
            ),
        ),
        Aspect(
            "jug",
            (
                "it pours without dripping",
                "the coffee is still hot after two hours",
                "your whole hand fits in when you wash it",
            ),
            (
                "it dribbles down the front every single time",
                "the coffee is cold after twenty minutes",
                "the lid falls off when you pour the last cup",
            ),
        ),
        Aspect(
            "timer",
            (
                "it takes two presses in the evening",
                "it remembers the hour after a power cut",
                "the coffee is waiting when I come down",
            ),
            (
                "the clock loses a few minutes each week",
                "you have to set it again every night",
                "the buttons need a strong thumb and good eyes",
            ),
        ),
        Aspect(
            "cleaning",
            (
                "everything comes apart without tools",
                "the filter rinses clean under the tap",
                "descaling takes ten minutes and no thought",
            ),
            (
                "grounds collect in a groove that no brush can reach",
                "it asks to be descaled every ten days",
                "the parts go back together in only one way, and it is not the obvious one",
            ),
        ),
    ),
)

LAMP = Kind(
    noun="lamp",
    title="{brand} {model} {place} Lamp, {finish}",
    name="the {brand} {model}",
    description=(
        "A {place_lower} lamp in {finish_lower} with {arm} and {switch}. The built-in light can be set "
        "from a warm {warm} to a cool {cool}, and uses only {watts} watts. "
        "{feature}. The cable is {cable} metres long."
    ),
    slots={
        "brand": BRANDS,
        "model": ("Heron", "Arc", "Halo", "Beacon", "Ember", "Stilt", "Wren", "Sill"),
        "place": ("Desk", "Reading", "Bedside", "Floor"),
        "finish": ("Matt Black", "Brass", "White Ash", "Sage Green"),
        "arm": ("a jointed arm", "a flexible neck", "a counterweighted arm", "a tilting head"),
        "switch": ("a touch switch", "a pull cord", "a dial in the base", "a foot switch"),
        "warm": ("2,200 K", "2,700 K"),
        "cool": ("4,000 K", "5,000 K"),
        "watts": ("6", "8", "11"),
        "feature": (
            "A small socket in the base charges a phone",
            "It remembers the last setting",
            "The weighted base keeps it upright",
            "It dims slowly over half an hour if you ask it to",
        ),
        "cable": ("1.5", "1.8", "2.2"),
    },
    trial="over three weeks of evening use",
    stories=(
        "It has a corner of {place} to itself",
        "{companion} has tried to steal it twice",
        "I use it {time}, when the big light is too much",
        "{companion} put it together while I was still reading the leaflet",
        "Before this we had a clip-on thing that fell on people",
    ),
    aspects=(
        Aspect(
            "light",
            (
                "it is soft on the page and never flickers",
                "the warm setting is like the end of an afternoon",
                "it fills the corner without blinding anyone",
            ),
            (
                "it has a bluish tint at every setting",
                "it flickers when dimmed, and I get headaches",
                "it lights up the wall and leaves my book in the dark",
            ),
        ),
        Aspect(
            "arm",
            (
                "it stays just where you leave it",
                "one finger is enough to move it",
                "the joints feel as though they will last",
            ),
            (
                "it sinks a little every evening",
                "the joint squeaks and then slips",
                "it does not reach as far as the photographs suggest",
            ),
        ),
        Aspect(
            "switch",
            (
                "you can find it in the dark",
                "it clicks softly enough for a shared room",
                "one turn goes from bright to barely there",
            ),
            (
                "it takes three taps to turn the thing off",
                "it sits behind the base, where no hand can reach",
                "the cat turns it on by walking past",
            ),
        ),
        Aspect(
            "base",
            (
                "it does not tip, even on a thick rug",
                "it takes up no more room than a saucer",
                "the felt underneath has spared my table",
            ),
            (
                "a full bookmark would tip it over",
                "it has scratched the table already",
                "it takes up a third of the shelf",
            ),
        ),
        Aspect(
            "assembly",
            (
                "it takes four screws and one minute",
                "the drawings are clear and there were no parts left over",
                "the only tool you need is in the box",
            ),
            (
                "two of the screws were the wrong size",
                "the leaflet shows a different model",
                "it took an hour and some bad language",
            ),
        ),
    ),
)

HEADPHONES = Kind(
    noun="pair of headphones",
    title="{brand} {model} {style} Headphones, {colour}",
    name="the {brand} {model}",
    description=(
        "{style} headphones with {pads} and {drivers}. {battery} hours of play from one charge, "
        "and ten minutes on the cable give another three. {feature}. "
        "In the box: {extra}, a charging cable and a printed guide."
    ),
    slots={
        "brand": BRANDS,
        "model": ("Aria", "Contour", "S2", "Drift", "Tempo", "H9", "Stillness", "Relay"),
        "style": ("Over-Ear", "On-Ear", "Folding", "Wireless"),
        "colour": ("Charcoal", "Sand", "Navy", "Rust"),
        "pads": ("memory foam pads", "woven fabric pads", "soft pads that can be replaced"),
        "drivers": ("40 mm drivers", "wide flat drivers", "drivers tuned for speech and strings"),
        "battery": ("24", "30", "36", "50"),
        "feature": (
            "Noise cancelling has three levels",
            "Two devices can be connected at once",
            "They fold flat for travelling",
            "A wheel on the side sets the volume",
        ),
        "extra": ("a hard case", "a cloth pouch", "a spare set of pads"),
    },
    trial="over forty hours of listening",
    stories=(
        "I wear this pair {time}, when I need the world to go away",
        "{companion} borrowed it for a weekend and it came back with a different playlist",
        "In {place} it has to compete with a washing machine",
        "{companion} could hear nothing from across the room, so I may sing along",
        "The last pair broke when somebody sat on it, and the somebody was me",
    ),
    aspects=(
        Aspect(
            "sound",
            (
                "I hear second violins that I never knew were there",
                "voices sit right in the middle, clear and close",
                "the bass is there when the music wants it",
            ),
            (
                "the bass covers everything like a blanket",
                "voices sound as if they came through a letterbox",
                "it turns harsh as soon as you turn it up",
            ),
        ),
        Aspect(
            "comfort",
            (
                "after an hour I forget that I am wearing anything",
                "it gets along with my glasses",
                "the pads stay cool through a whole afternoon",
            ),
            (
                "my ears ache after half an hour",
                "the headband presses on one particular spot",
                "it slides off when I look down",
            ),
        ),
        Aspect(
            "battery",
            (
                "I charge it on Sundays and that is that",
                "it lasts longer than the box promises",
                "ten minutes on the cable cover the way home",
            ),
            (
                "it lasts about half as long as promised",
                "it goes from full to flat without a warning",
                "it will not charge from my laptop",
            ),
        ),
        Aspect(
            "noise cancelling",
            (
                "the bus simply disappears",
                "the hum of the fridge is gone and speech gets through",
                "there is no odd pressure in the ears",
            ),
            (
                "it takes away the hum and leaves every cough",
                "wind makes it roar",
                "it adds a hiss that I cannot stop hearing",
            ),
        ),
        Aspect(
            "connection",
            (
                "it finds my phone before I have sat down",
                "it has not dropped once, not even two rooms away",
                "it moves from laptop to phone without being asked",
            ),
            (
                "it drops out whenever I put the phone in a pocket",
                "it keeps choosing the neighbour's television",
                "pairing takes five attempts each morning",
            ),
        ),
    ),
)

KINDS = (NOVEL, COOKBOOK, ALBUM, COFFEE_MAKER, LAMP, HEADPHONES)


# --- How it is said: the users ---------------------------------------------------------------------------


PLAIN = Register(
    openers=(
        "I bought {name} last month",
        "I picked up {name} a few weeks ago",
        "I had wanted {name} for a while",
        "I was given {name} as a present",
    ),
    frames=("{reason}", "I noticed that {reason}", "I found that {reason}", "to me it matters that {reason}"),
    claims={
        "good": (
            "the {aspect} is {very} {word}",
            "I liked the {aspect}",
            "the {aspect} was better than I expected",
            "I have no complaints about the {aspect}",
        ),
        "bad": (
            "the {aspect} is {very} {word}",
            "I did not like the {aspect}",
            "the {aspect} let me down",
            "I expected more from the {aspect}",
        ),
    },
    words={"good": ("good", "nice", "solid", "pleasing"), "bad": ("poor", "weak", "bad", "disappointing")},
    verdicts={
        "good": ("I would buy it again", "It is worth the money", "I am glad I have it"),
        "mixed": ("It is all right", "Try it before you buy it", "It is fine for the price and no more"),
        "bad": ("I would not buy it again", "I am sending it back", "Spend your money on something else"),
    },
    titles={
        "good": ("Good {noun}", "Happy with it", "Worth buying for the {good}", "Does what I wanted"),
        "mixed": ("Good {good}, poor {bad}", "Not bad, not great", "Liked some of it", "Average {noun}"),
        "bad": ("Not for me", "Disappointed by the {bad}", "Not a good {noun}", "Would not buy again"),
    },
)

SLANGY = Register(
    openers=(
        "Okay so I finally grabbed {name}",
        "Gotta talk about {name} for a sec",
        "So yeah, I caved and got {name}",
        "Snagged {name} on a total whim",
    ),
    frames=("like, {reason}", "{reason}, no joke", "I swear {reason}", "legit, {reason}"),
    claims={
        "good": (
            "the {aspect} is {very} {word}",
            "gotta love the {aspect}",
            "big thumbs up for the {aspect}",
            "the {aspect} kinda blew me away",
        ),
        "bad": (
            "the {aspect} is {very} {word}",
            "can't stand the {aspect}",
            "big nope on the {aspect}",
            "the {aspect} kinda bugs me",
        ),
    },
    words={"good": ("awesome", "sweet", "slick", "cool"), "bad": ("janky", "lame", "sketchy", "crummy")},
    verdicts={
        "good": ("Go get it, you're gonna thank me", "Total keeper, folks", "Yeah, I'm sold"),
        "mixed": ("It's okay I guess, whatever", "Kinda torn on this one", "Wait for a sale, dude"),
        "bad": ("Hard pass, folks", "Wanna save some cash? Skip it", "Yeah, nope, I'm out"),
    },
    titles={
        "good": ("Dude, the {good}", "Total keeper", "Yep, gotta have it", "Kinda obsessed with this {noun}"),
        "mixed": (
            "Meh, but cool {good}",
            "Kinda torn",
            "It's okay I guess",
            "Love the {good}, not the {bad}",
        ),
        "bad": ("Yeah, nope", "Hard pass", "What's up with the {bad}", "Don't bother, seriously"),
    },
)

BOOKISH = Register(
    openers=(
        "It was with some curiosity that I turned to {name}",
        "I had long meant to make the acquaintance of {name}",
        "Chance, rather than judgement, brought me to {name}",
        "One comes to {name} with certain expectations",
    ),
    frames=(
        "one soon discovers that {reason}",
        "I could not fail to observe that {reason}",
        "it is no small matter that {reason}",
        "it must be said that {reason}",
    ),
    claims={
        "good": (
            "the {aspect}, I would venture, is {very} {word}",
            "the {aspect} deserves unreserved praise",
            "I was quietly delighted by the {aspect}",
            "in the matter of the {aspect} I can find no fault",
        ),
        "bad": (
            "the {aspect}, alas, is {very} {word}",
            "the {aspect} scarcely deserves its place",
            "I was perpetually vexed by the {aspect}",
            "in the matter of the {aspect} my patience was sorely tried",
        ),
    },
    words={
        "good": ("admirable", "accomplished", "graceful", "distinguished"),
        "bad": ("regrettable", "wearisome", "graceless", "lamentable"),
    },
    verdicts={
        "good": (
            "I commend it without hesitation to the discerning",
            "Seldom have I parted with my money so contentedly",
            "It has earned an honoured place among my possessions",
        ),
        "mixed": (
            "Its virtues and its vices are, I fear, inseparable",
            "I remain, on balance, undecided",
            "One admires the intention rather more than the result",
        ),
        "bad": (
            "I cannot in good conscience commend it to anyone",
            "I parted from it without sorrow",
            "It is a melancholy reminder that hope outlives experience",
        ),
    },
    titles={
        "good": (
            "A quiet triumph",
            "In praise of the {good}",
            "An unexpected delight",
            "A {noun} of distinction",
        ),
        "mixed": (
            "Virtues and vices",
            "Fine {good}, lamentable {bad}",
            "Neither triumph nor folly",
            "Faint praise",
        ),
        "bad": ("A melancholy affair", "Alas, the {bad}", "Hope deferred", "A {noun} best forgotten"),
    },
)

TECHNICAL = Register(
    openers=(
        "I tested {name} against two alternatives in the same price range",
        "These are my notes on {name}, with a sample size of one",
        "I evaluated {name} against a fixed list of criteria",
        "Baseline for comparison with {name}: whatever I owned before",
    ),
    frames=(
        "{trial}, {reason}",
        "{trial} I recorded that {reason}",
        "in practice, {reason}",
        "the observed result is that {reason}",
    ),
    claims={
        "good": (
            "the {aspect} is {very} {word}",
            "the {aspect} meets the requirement",
            "the {aspect} scores 9 out of 10",
            "the {aspect} performs above the average for its class",
        ),
        "bad": (
            "the {aspect} is {very} {word}",
            "the {aspect} fails to meet the requirement",
            "the {aspect} scores 3 out of 10",
            "the {aspect} performs below the average for its class",
        ),
    },
    words={
        "good": ("effective", "satisfactory", "convincing", "well judged"),
        "bad": ("ineffective", "deficient", "unsatisfactory", "inadequate"),
    },
    verdicts={
        "good": (
            "Overall: recommended at the current price",
            "Result: passes on all criteria that matter to me",
            "Conclusion: a clear improvement on the baseline",
        ),
        "mixed": (
            "Overall: acceptable, with known limitations",
            "Result: passes on some criteria and fails on others",
            "Conclusion: no significant difference from the baseline",
        ),
        "bad": (
            "Overall: not recommended at any price",
            "Result: fails on the criteria that matter to me",
            "Conclusion: a regression from the baseline",
        ),
    },
    titles={
        "good": (
            "Recommended: strong {good}",
            "Passes where it counts",
            "Test notes: positive",
            "Meets its specification",
        ),
        "mixed": (
            "{good}: pass, {bad}: fail",
            "Acceptable with caveats",
            "Mixed results",
            "Test notes: inconclusive",
        ),
        "bad": ("Fails on {bad}", "Not recommended", "Test notes: negative", "Below specification"),
    },
)

REGISTERS = (PLAIN, SLANGY, BOOKISH, TECHNICAL)


ENTHUSIAST = Tone(
    adverbs=("so", "incredibly", "ridiculously", "wonderfully"),
    leniency=0.5,
    remarks={
        "good": (
            "I am over the moon with it",
            "It makes my whole day better",
            "I keep telling strangers about it",
        ),
        "mixed": (
            "I wanted to love all of it",
            "When it is good it makes me want to dance",
            "My heart says yes, at least",
        ),
        "bad": ("It breaks my heart to say so", "I could have cried", "I had been counting the days, too"),
    },
)
WARM = Tone(
    adverbs=("really", "very", "genuinely", "truly"),
    leniency=0.3,
    remarks={
        "good": (
            "{companion} likes it too, which settles it",
            "It has brought us a lot of quiet joy",
            "Bless whoever made it",
        ),
        "mixed": (
            "{companion} is fonder of it than I am",
            "I am sure that somebody tried their best",
            "It may yet grow on us",
        ),
        "bad": (
            "{companion} was kind about it, but I could tell",
            "I am sorry, because people clearly worked hard on it",
            "I hope that others have better luck with it",
        ),
    },
)
GRUMBLER = Tone(
    adverbs=("frankly", "just plain", "honestly", "downright"),
    leniency=-0.5,
    remarks={
        "good": (
            "For once I have been left in a good temper",
            "It annoys me how right they got it",
            "About time, too",
        ),
        "mixed": (
            "Why nobody checked the rest is beyond me",
            "Typical, one step forward and one back",
            "It was so nearly right",
        ),
        "bad": (
            "Somebody must have signed off on this",
            "I want my afternoon back",
            "Nobody who made this has ever had to use it",
        ),
    },
)
DRY = Tone(
    adverbs=("quite", "fairly", "rather", "reasonably"),
    leniency=-0.1,
    remarks={
        "good": (
            "It does its work, which is all I ask",
            "I have had worse weeks",
            "It exceeds its ambitions",
        ),
        "mixed": (
            "Opinions may differ, mine included",
            "There is room for improvement, as in most rooms",
            "It exists",
        ),
        "bad": (
            "The box was nice",
            "The wrapping kept my interest for longer",
            "It does arrive promptly, I grant it that",
        ),
    },
)

TONES = (ENTHUSIAST, WARM, GRUMBLER, DRY)


PUNCTUATIONS = (
    Punctuation("{claim}: {reason}", ".", 0.0),
    Punctuation("{claim}; {reason}", ".", 0.0),
    Punctuation("{claim}. {Reason}", ".", 0.0),
    Punctuation("{claim} ({reason})", ".", 0.0),
    Punctuation("{claim}! {Reason}", "!", 0.6),
    Punctuation("{claim}!! {Reason}", "!!!", 0.5),
    Punctuation("{claim}... {reason}", "...", 0.6),
    Punctuation("{claim} - {reason}", ".", 0.0),
    Punctuation("{claim} — {reason}", ".", 0.0),
    Punctuation("{claim}. {Reason}", ".", 0.0, lower=True),
    Punctuation("{claim}... {reason}", "...", 0.8, lower=True),
)


LENGTHS = (Length(2, 0, 0, False), Length(2, 1, 0, True), Length(3, 1, 0, True), Length(4, 2, 1, True))

STRUCTURES: dict[str, tuple[str, ...]] = {
    "paragraph": ("opener", "aspects", "stories", "asides", "remark", "verdict"),
    "lists": ("opener", "stories", "lists", "asides", "remark", "verdict"),
    "story first": ("stories", "opener", "asides", "aspects", "remark", "verdict"),
    "verdict first": ("verdict", "remark", "opener", "aspects", "stories", "asides"),
}
"""The order in which the passages of a review come."""

LIST_LABELS = (("Pros", "Cons"), ("Likes", "Dislikes"), ("Plus", "Minus"), ("The good", "The bad"))

PLACES = (
    "our narrow kitchen",
    "the caravan",
    "the back room of the shop",
    "my student flat",
    "the garden shed",
    "the boat",
    "a farmhouse with thin walls",
    "the attic",
)
TIMES = (
    "after the night shift",
    "before the school run",
    "on wet Sundays",
    "after choir practice",
    "on my days off",
    "late at night",
)
COMPANIONS = (
    "my daughter",
    "my flatmate",
    "my father",
    "my wife",
    "my husband",
    "my neighbour",
    "my grandson",
    "my sister",
)

ASIDES = (
    "I do tend to keep things for years, so I look closely before I buy",
    "The parcel came a day early, and the driver stopped for a chat about the weather",
    "I should say that I am not easy to please before breakfast",
    "A friend of mine swears by another one entirely, but then she swears by most things",
    "I read a great many reviews beforehand and ended up none the wiser",
    "My memory is not what it was, so I wrote all of this down as I went along",
    "There was a time when I would not have spent this much on myself",
    "I have moved house four times and am careful about what I carry with me",
    "I meant to write this weeks ago, but then the roof started to leak",
    "The cat has an opinion too, though she keeps it to herself",
    "I wrote half of this on the train, which may explain the order of things",
    "I am told that I go on a bit, and here I am going on a bit",
    "My grandmother would have had something to say about the price",
    "You may know me from my long piece about the garden hose",
)

SIGN_OFFS = (
    "Hope that helps someone",
    "That is all from me",
    "Just my two cents",
    "Ask me again in a year",
    "Take it or leave it",
    "Greetings from up north",
    "Happy to answer questions",
    "Now back to the garden",
)
SIGN_OFF_SHARE = 0.5

GOOD_SHARE = {1: 0.0, 2: 0.25, 3: 0.5, 4: 0.75, 5: 1.0}
"""The share of the aspects in a review that are praised, by rating."""


@dataclass(frozen=True, eq=False)
class Words:
    """All that a generated dataset draws from. Two objects are two worlds, whatever they hold."""

    kinds: tuple[Kind, ...] = KINDS
    registers: tuple[Register, ...] = REGISTERS
    tones: tuple[Tone, ...] = TONES
    places: tuple[str, ...] = PLACES
    times: tuple[str, ...] = TIMES
    companions: tuple[str, ...] = COMPANIONS
    asides: tuple[str, ...] = ASIDES
    sign_offs: tuple[str, ...] = SIGN_OFFS


EMBEDDED = Words()
"""The words of the dataset that this package carries."""
