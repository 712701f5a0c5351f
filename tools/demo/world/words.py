"""The words of the world: names, things, places, adjectives, verbs; all of them common and short."""

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Hugo Ida Jonas Kate Leo Mia Noah Olga Paul Rosa Sam Tara Victor Wanda Alice Bruno "
    "Carla Dan Elena Frank Gina Henry Iris Jack Karen Lucas Maria Nina Oscar Petra Robert Sara Tom Vera Walter Zoe Lena Max "
    "Julia Simon Laura Peter Helen"
).split()

ANIMALS = "cat dog fox horse cow pig sheep goat bear wolf lion tiger mouse rabbit owl eagle duck goose frog snake bee ant whale seal".split()

THINGS = (
    "apple book box bread bottle bowl brush cake candle card chair clock coat coin cup desk door drum egg fan flag flower fork "
    "garden glass glove hammer hat horn jar key kite knife ladder lamp leaf lemon letter map mirror nail needle orange page "
    "paper pear pen pencil piano picture pillow plate plum potato ribbon ring rope scarf shell ship shirt shoe soap sock spoon "
    "stamp stone table tent ticket tomato towel toy train tree umbrella vase violin wagon watch wheel window"
).split()

PLACES = (
    "beach bridge castle cave city farm field forest harbor hill house island kitchen lake library market mountain museum park "
    "river road school shop station street tower town valley village"
).split()

ADJECTIVES = (
    "big small old new red blue green yellow black white brown happy sad quick slow quiet loud warm cold dark bright heavy "
    "light long short round soft hard clean dry wet kind brave clever gentle golden silver tiny strange empty full"
).split()

VERBS = "found lost sold bought kept moved carried painted cleaned opened closed watched followed dropped lifted counted".split()

COLORS = "red blue green yellow black white brown orange purple pink grey".split()

FOODS = "rice soup pizza salad pasta cheese honey bread fish cake beans corn curry noodles pancakes".split()

CITIES = (
    "Paris Rome Madrid Berlin London Vienna Oslo Athens Cairo Lima Tokyo Delhi Boston Chicago Dublin Prague Warsaw Lisbon "
    "Helsinki Toronto Sydney Nairobi Geneva Hamburg Milan Naples Seoul Havana Dallas Seattle"
).split()

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

MONTHS = "January February March April May June July August September October November December".split()

MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()

JOBS = "teacher doctor baker farmer pilot painter nurse lawyer driver writer singer cook builder gardener sailor".split()

ALL = sorted(set(ANIMALS + THINGS + PLACES + ADJECTIVES))


def plural(word: str) -> str:
    irregular = {
        "mouse": "mice",
        "sheep": "sheep",
        "goose": "geese",
        "wolf": "wolves",
        "leaf": "leaves",
        "knife": "knives",
        "scarf": "scarves",
    }
    if word in irregular:
        return irregular[word]
    if word.endswith(("s", "x", "sh", "ch", "tato", "mato")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
