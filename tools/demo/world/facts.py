"""Questions on a closed set of public facts, in both directions."""

from __future__ import annotations

from random import Random

from .conversation import Sample, asked

CAPITALS = dict(
    pair.split(":")
    for pair in (
        "France:Paris,Italy:Rome,Spain:Madrid,Germany:Berlin,England:London,Austria:Vienna,Norway:Oslo,Greece:Athens,Egypt:Cairo,Peru:Lima,Japan:Tokyo,"
        "India:New Delhi,Ireland:Dublin,Poland:Warsaw,Portugal:Lisbon,Finland:Helsinki,Canada:Ottawa,Australia:Canberra,Kenya:Nairobi,South Korea:Seoul,"
        "Cuba:Havana,Sweden:Stockholm,Denmark:Copenhagen,Hungary:Budapest,China:Beijing,Russia:Moscow,Turkey:Ankara,Mexico:Mexico City,Brazil:Brasilia,"
        "Argentina:Buenos Aires,Chile:Santiago,Colombia:Bogota,Belgium:Brussels,Switzerland:Bern,Iceland:Reykjavik,Thailand:Bangkok,Vietnam:Hanoi,"
        "Morocco:Rabat,Iran:Tehran,Iraq:Baghdad,Ukraine:Kyiv,Romania:Bucharest,Bulgaria:Sofia,Croatia:Zagreb,Serbia:Belgrade,Scotland:Edinburgh"
    ).split(",")
)
ELEMENTS = (
    "hydrogen H,helium He,lithium Li,beryllium Be,boron B,carbon C,nitrogen N,oxygen O,fluorine F,neon Ne,sodium Na,magnesium Mg,aluminum Al,silicon Si,"
    "phosphorus P,sulfur S,chlorine Cl,argon Ar,potassium K,calcium Ca"
).split(",")
METALS = "iron Fe 26,copper Cu 29,zinc Zn 30,silver Ag 47,tin Sn 50,gold Au 79,mercury Hg 80,lead Pb 82,nickel Ni 28,uranium U 92".split(
    ","
)
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth".split()
OPPOSITES = (
    "big small,hot cold,new old,fast slow,day night,up down,left right,happy sad,light dark,open closed,full empty,high low,hard soft,wet dry,early late,"
    "strong weak,rich poor,loud quiet,long short,first last,black white,true false,near far,clean dirty,thick thin,young old,easy difficult,good bad"
).split(",")
YOUNG = "dog:puppy,cat:kitten,cow:calf,sheep:lamb,horse:foal,goat:kid,pig:piglet,bear:cub,lion:cub,duck:duckling,goose:gosling,frog:tadpole,hen:chick,deer:fawn".split(
    ","
)
LEGS = "dog 4,cat 4,cow 4,horse 4,spider 8,ant 6,bee 6,bird 2,duck 2,fly 6,snake 0,hen 2,pig 4,beetle 6,lion 4".split(",")
MIXES = "blue:yellow:green,red:yellow:orange,red:blue:purple,black:white:grey,red:white:pink".split(",")
PASTS = "go went,see saw,eat ate,run ran,take took,give gave,come came,write wrote,sing sang,swim swam,buy bought,think thought,find found,know knew,begin began,speak spoke,drink drank,fly flew".split(
    ","
)
AUTHORS = (
    "Hamlet:William Shakespeare,Macbeth:William Shakespeare,Don Quixote:Miguel de Cervantes,Faust:Johann Wolfgang von Goethe,War and Peace:Leo Tolstoy,Emma:Jane Austen,"
    "Oliver Twist:Charles Dickens,Moby Dick:Herman Melville,Dracula:Bram Stoker,Frankenstein:Mary Shelley,The Odyssey:Homer,Les Miserables:Victor Hugo,Ulysses:James Joyce"
).split(",")
CONTINENTS = "France Europe,Spain Europe,Poland Europe,Norway Europe,Egypt Africa,Kenya Africa,Morocco Africa,Ghana Africa,Japan Asia,India Asia,China Asia,Thailand Asia,Peru South America,Brazil South America,Chile South America,Canada North America,Mexico North America".split(
    ","
)


def relations() -> list[tuple[str, list[str], str]]:
    """All questions: the fact's name, its phrasings, the answer."""
    found = []

    def add(name: str, answer: str, *phrasings: str):
        found.append((name, list(phrasings), answer))

    for country, city in CAPITALS.items():
        add(f"capital {country}", f"The capital of {country} is {city}.", f"What is the capital of {country}?", f"Which city is the capital of {country}?", f"Name the capital of {country}.",
            f"Tell me the capital of {country}.", f"{country}'s capital?", f"Do you know the capital of {country}?", f"What's the capital city of {country}?")  # fmt: skip
        add(f"country {country}", f"{city} is the capital of {country}.", f"{city} is the capital of which country?", f"Which country has {city} as its capital?", f"Of which country is {city} the capital?",
            f"What country is {city} the capital of?", f"Name the country whose capital is {city}.")  # fmt: skip
        add(
            f"short {country}",
            city,
            f"What is the capital of {country}? Answer with the name only.",
            f"Capital of {country}, the name only.",
            f"Just the name: what is the capital of {country}?",
        )
    for number, entry in enumerate(ELEMENTS, 1):
        METALS.append(f"{entry} {number}") if f"{entry} {number}" not in METALS else None
    for entry in METALS:
        element, symbol, number = entry.split()
        add(f"symbol {element}", f"The symbol of {element} is {symbol}.", f"What is the chemical symbol of {element}?", f"What is the symbol for {element}?", f"Which symbol does {element} have?",
            f"Tell me the symbol of {element}.", f"How is {element} written in chemistry?", f"Chemical symbol of {element}?")  # fmt: skip
        add(f"element {element}", f"{symbol} is the symbol of {element}.", f"Which element has the symbol {symbol}?", f"What does the chemical symbol {symbol} stand for?", f"{symbol} is the symbol of which element?",
            f"Name the element with the symbol {symbol}.")  # fmt: skip
        add(f"number {element}", f"The atomic number of {element} is {number}.", f"What is the atomic number of {element}?", f"Which atomic number does {element} have?", f"Atomic number of {element}?",
            f"How many protons does {element} have?", f"Tell me the atomic number of {element}.")  # fmt: skip
    for i, planet in enumerate(PLANETS):
        add(f"planet {i}", f"The {ORDINALS[i]} planet from the sun is {planet}.", f"What is the {ORDINALS[i]} planet from the sun?", f"Which planet is the {ORDINALS[i]} from the sun?", f"Name the {ORDINALS[i]} planet of the solar system.",
            f"Planet number {i + 1} from the sun?")  # fmt: skip
        add(
            f"place {i}",
            f"{planet} is the {ORDINALS[i]} planet from the sun.",
            f"Which place does {planet} have from the sun?",
            f"What number is {planet} from the sun?",
            f"Counting from the sun, which planet is {planet}?",
            f"Where is {planet} in the solar system?",
        )
    add(
        "largest planet",
        "The largest planet is Jupiter.",
        "What is the largest planet?",
        "Which planet is the biggest?",
        "Name the largest planet of the solar system.",
        "What's the biggest planet?",
    )
    add(
        "planets",
        "The planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",
        "List the planets.",
        "Name all planets of the solar system.",
        "Which planets are there?",
        "What are the planets?",
    )
    for pair in OPPOSITES:
        for a, b in (pair.split(), pair.split()[::-1]):
            if (a, b) == ("old", "young"):
                continue
            add(
                f"opposite {a}",
                f"The opposite of {a} is {b}.",
                f"What is the opposite of {a}?",
                f"Give me the opposite of {a}.",
                f"Which word is the opposite of {a}?",
                f"Opposite of {a}?",
                f"What word means the contrary of {a}?",
                f"Name the opposite of the word {a}.",
            )
    for pair in YOUNG:
        a, b = pair.split(":")
        add(
            f"young {a}",
            f"A young {a} is called a {b}.",
            f"What is a young {a} called?",
            f"What do you call a baby {a}?",
            f"Name for a young {a}?",
            f"How is a baby {a} called?",
            f"What's the word for a young {a}?",
        )
    for pair in LEGS:
        a, b = pair.split()
        add(
            f"legs {a}",
            f"A {a} has {b} legs.".replace("A ant", "An ant"),
            f"How many legs does a {a} have?".replace("a ant", "an ant"),
            f"Number of legs of a {a}?".replace("a ant", "an ant"),
            f"Tell me how many legs a {a} has.".replace("a ant", "an ant"),
        )
    for mix in MIXES:
        for a, b in (mix.split(":")[:2], mix.split(":")[1::-1]):
            add(
                f"mix {a} {b}",
                f"{a.capitalize()} and {b} make {mix.split(':')[2]}.",
                f"What color do {a} and {b} make?",
                f"Which color do you get from {a} and {b}?",
                f"Mix {a} and {b}: which color is it?",
                f"What happens when I mix {a} with {b}?",
            )
    for pair in PASTS:
        a, b = pair.split()
        add(
            f"past {a}",
            f"The past tense of {a} is {b}.",
            f"What is the past tense of {a}?",
            f"Past tense of {a}?",
            f"Give the past tense of the verb {a}.",
            f"How do you write {a} in the past tense?",
        )
    for pair in AUTHORS:
        book, author = pair.split(":")
        add(
            f"author {book}",
            f"{book} was written by {author}.",
            f"Who wrote {book}?",
            f"Who is the author of {book}?",
            f"Name the author of {book}.",
            f"By whom is {book}?",
            f"Which writer wrote {book}?",
        )
    for entry in CONTINENTS:
        country, continent = entry.split(" ", 1)
        add(
            f"continent {country}",
            f"{country} is in {continent}.",
            f"On which continent is {country}?",
            f"Which continent is {country} in?",
            f"Where is {country}?",
            f"{country} belongs to which continent?",
            f"Name the continent of {country}.",
        )
    add(
        "water",
        "Water boils at 100 degrees Celsius.",
        "At what temperature does water boil?",
        "When does water boil?",
        "What is the boiling point of water?",
    )
    add(
        "ice",
        "Water freezes at 0 degrees Celsius.",
        "At what temperature does water freeze?",
        "When does water freeze?",
        "What is the freezing point of water?",
    )
    add("moon", "The Earth has one moon.", "How many moons does the Earth have?", "What is the number of moons of the Earth?")
    add(
        "days",
        "A year has 365 days.",
        "How many days does a year have?",
        "How many days are in a year?",
        "How long is a year in days?",
    )
    add("week", "A week has 7 days.", "How many days does a week have?", "How many days are in a week?")
    add(
        "seasons",
        "The seasons are spring, summer, autumn and winter.",
        "What are the seasons?",
        "Name the four seasons.",
        "Which seasons are there?",
    )
    return found


RELATIONS = relations()
BEFORE = (
    "",
    "",
    "",
    "",
    "Quick question: ",
    "Please tell me: ",
    "I wonder: ",
    "Quiz time! ",
    "Hi! ",
    "A question: ",
    "One more thing: ",
    "For my homework: ",
)
RECALL = ("I know this.", "This is a fact I know.", "A plain fact.")


def fact_question(r: Random, thinking: bool) -> Sample:
    name, phrasings, answer = r.choice(RELATIONS)
    question = r.choice(BEFORE) + r.choice(phrasings)
    return asked("facts", f"{name} {question}", question, answer, "I know this." if thinking else "")
