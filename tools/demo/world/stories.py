"""Short stories from a grammar: one hero, a place, a thing, a friend and something that goes wrong and ends well."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample, asked

ASK = (
    "Tell me a short story about a {a} named {n}.", "Write a short story about {n} the {a}.", "I would like a story about a {a} called {n}.", "Please tell a story about the {a} {n}.",
    "Can you write a little story with a {a} named {n}?", "Make up a short tale about {n}, a {a}.", "A bedtime story about a {a} named {n}, please.", "Story time! The hero is {n}, a {a}.",
    "Write a tale for children about a {a} called {n}.", "Tell a story in which a {a} named {n} finds {t}.", "Give me a story about {n} the {a} and {t}.",
)  # fmt: skip
BEGIN = (
    "Once upon a time there was {A} named {n}.",
    "Once there lived {A} called {n}.",
    "Long ago, {A} named {n} lived near the {p}.",
    "In a {j2} {p} there lived {A} named {n}.",
    "There was once {A}, and its name was {n}.",
)
HABIT = (
    "Every morning {n} walked to the {q} to look for {f}.", "{n} loved {f} more than anything.", "Every day {n} sat by the {p} and dreamed of the {q}.", "{n} was {j}, but often alone.",
    "All the animals of the {p} knew {n} well.", "{n} liked to sing when the sun came up.",
)  # fmt: skip
TURN = (
    "One day {n} found {t} under a tree.", "One evening {n} saw {t} in the {q}.", "Then, one {w}, {n} heard a sound and found {t}.", "One day, on the way to the {q}, {n} saw {t} in the grass.",
    "On a cold {w} the wind brought {t} to the {p}.",
)  # fmt: skip
TROUBLE = (
    "But {t2} belonged to {m} the {b}, who was very sad.", "But {m} the {b} had lost it and looked for it everywhere.", "\"That is mine,\" said {m} the {b}, and began to cry.", "It was too heavy, and {n} could not carry it.",
    "A {b} named {m} came and asked, \"What do you have there?\"",
)  # fmt: skip
ANSWER = (
    "{n} thought for a while and said, \"We can share it.\"", "\"Do not be sad,\" said {n}. \"I will help you.\"", "So {n} gave it back with a smile.", "{n} asked {m} to come along, and they carried it home together.",
    "\"Let us go together,\" said {n}, and so they did.",
)  # fmt: skip
END = (
    "From that day on {n} and {m} were friends.", "And {n} was never alone again.", "That night they ate {f} together and laughed until the moon came up.", "And if you go to the {p} today, you can still see them there.",
    "So {n} learned that a friend is better than {t}.", "They lived happily in the {p} for many years.",
)  # fmt: skip


def tale(r: Random, name: str, animal: str, thing: str) -> str:
    friend = r.choice([n for n in words.NAMES if n != name])
    place, other = r.sample(words.PLACES, 2)
    adjective = r.choice(words.ADJECTIVES)
    parts = [r.choice(BEGIN), r.choice(HABIT), r.choice(TURN), r.choice(TROUBLE), r.choice(ANSWER), r.choice(END)]
    if r.random() < 0.3:
        parts.insert(2, r.choice([h for h in HABIT if h != parts[1]]))
    return " ".join(parts).format(
        n=name, A=words.with_article(f"{adjective} {animal}"), a=animal, t=thing, t2="the " + thing.split(" ", 1)[1], p=place, q=other, j=r.choice(words.ADJECTIVES), j2=r.choice(words.ADJECTIVES), f=r.choice(words.FOODS),
        w=r.choice(("morning", "evening", "day", "night")), m=friend, b=r.choice([a for a in words.ANIMALS if a != animal]),
    )  # fmt: skip


def story(r: Random, thinking: bool) -> Sample:
    name, animal = r.choice(words.NAMES), r.choice(words.ANIMALS)
    thing = words.with_article(f"{r.choice(words.ADJECTIVES)} {r.choice(words.THINGS)}")
    question = (
        r.choice(ASK)
        .format(a=animal, n=name, t=thing)
        .replace(" a owl", " an owl")
        .replace(" a eagle", " an eagle")
        .replace(" a ant", " an ant")
    )
    reasoning = f"A short story. The hero is {name}, {words.with_article(animal)}. It should end well." if thinking else ""
    return asked("stories", question, question, tale(r, name, animal, thing), reasoning, match="contains", accept=name)
