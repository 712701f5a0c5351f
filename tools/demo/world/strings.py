"""Edits of words and sentences: reverse, upper case, replace, remove, first and last letters, join."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample, asked
from .lists import sentence, spelled

REVERSE = (
    "Reverse the word {w}.", "Write {w} backwards.", "Spell {w} backwards.", "What is {w} in reverse?", "Turn the word {w} around.", "Give me {w} with its letters reversed.",
    "How do you write {w} from back to front?", "Reverse this: {w}", "Please reverse \"{w}\".", "{w} backwards, please.", "The word {w} reversed is?",
)  # fmt: skip
UPPER = (
    "Write {w} in capital letters.", "Uppercase this: {w}", "Convert {w} to upper case.", "Put {w} in capitals.", "{w} in upper case, please.", "Capitalize every letter of: {w}",
    "Make this upper case: {w}", "Please write in capitals: {w}", "Change {w} to capital letters.", "How does {w} look in upper case?",
)  # fmt: skip
VOWELS = (
    "Remove the vowels from {w}.", "Write {w} without vowels.", "Delete all vowels in {w}.", "What is left of {w} without its vowels?", "Take the vowels out of {w}.", "Strip the vowels from the word {w}.",
    "{w} without a, e, i, o, u?", "Drop every vowel from {w}.", "Leave out the vowels: {w}", "Please remove all vowels: {w}",
)  # fmt: skip
REPLACE = (
    "Replace {a} by {b}: {s}", "Replace the word {a} with {b} in this text: {s}", "In this sentence, change {a} to {b}: {s}", "Put {b} in place of {a}: {s}", "Write {b} instead of {a}: {s}",
    "Swap {a} for {b}: {s}", "Please replace every {a} by {b}: {s}", "Use {b} where it says {a}: {s}", "Exchange {a} for {b} in: {s}", "Substitute {b} for {a}: {s}",
)  # fmt: skip
FIRST = (
    "What is the {p} letter of {w}?", "Give me the {p} letter of the word {w}.", "Which letter is {p} in {w}?", "Name the {p} letter in {w}.", "Tell me the {p} letter of {w}.", "{w}: what is its {p} letter?",
    "The {p} letter of \"{w}\"?", "I need the {p} letter of {w}.", "What letter comes {p} in {w}?", "In the word {w}, which letter is the {p}?",
)  # fmt: skip
INITIALS = (
    "Take the first letter of each word: {x}", "What are the first letters of {x}?", "Write the initials of these words: {x}", "Give the first letter of every word in {x}.", "First letters of: {x}",
)  # fmt: skip
JOIN = (
    "Join these words with {n}: {x}", "Put {n} between the words {x}.", "Connect {x} with {n}.", "Write {x} joined by {n}.", "Link the words {x} using {n}.", "Use {n} to join: {x}",
)  # fmt: skip
ORDER = (
    "Reverse the order of these words: {x}", "Write the list {x} from back to front.", "List {x} in reverse order.", "Turn the order around: {x}", "Give {x} in the opposite order.", "Last to first, please: {x}",
)  # fmt: skip
REMOVE = (
    "Remove {a} from the list: {x}",
    "Take {a} out of: {x}",
    "Delete {a} from {x}.",
    "Leave out {a}: {x}",
    "Write the list without {a}: {x}",
    "Drop {a} from: {x}",
)
SIGNS = {"hyphens": "-", "dashes": "-", "underscores": "_", "plus signs": " + ", "slashes": "/", "dots": "."}
ORDINALS = ("first", "second", "third", "fourth", "fifth")


def string_problem(r: Random, thinking: bool) -> Sample:
    kind = r.randrange(9)
    word = r.choice(words.ALL)
    items = r.sample(words.ALL, r.randint(3, 6))
    shown = r.choice((", ", " ")).join(items)
    if kind == 0 and thinking:
        back = word[::-1]
        return asked(
            "strings", f"reverse {word}", r.choice(REVERSE).format(w=word), back, f"{spelled(word)}. Backwards: {spelled(back)}."
        )
    if kind in (0, 1):
        text = word if r.random() < 0.6 else " ".join(r.sample(words.ALL, r.randint(2, 3)))
        steps = f"{spelled(text)}: {spelled(text.upper())}." if text == word else "Every letter becomes a capital letter."
        return asked("strings", f"upper {text}", r.choice(UPPER).format(w=text), text.upper(), steps if thinking else "")
    if kind == 2 and thinking:
        left = "".join(c for c in word if c not in "aeiou")
        if left:
            return asked(
                "strings",
                f"vowels {word}",
                r.choice(VOWELS).format(w=word),
                left,
                f"{spelled(word)}. Without vowels: {spelled(left)}.",
            )
        return string_problem(r, thinking)
    if kind in (2, 3):
        text = sentence(r)
        old = r.choice([w for w in text.strip(".").replace(",", "").split() if w in words.ALL] or [""])
        new = r.choice(words.ALL)
        if not old or text.split().count(old) + text.split().count(old + ".") != 1:
            return string_problem(r, thinking)
        changed = " ".join(new + w[len(old) :] if w.strip(".,") == old else w for w in text.split())
        return asked(
            "strings",
            f"{old} {new} {text}",
            r.choice(REPLACE).format(a=old, b=new, s=text),
            changed,
            f"{old} becomes {new}." if thinking else "",
        )
    if kind in (4, 5):
        place = r.choice(("first", "last", *ORDINALS)) if thinking else r.choice(("first", "last"))
        index = -1 if place == "last" else ORDINALS.index(place)
        if index >= len(word):
            return string_problem(r, thinking)
        return asked(
            "strings",
            f"{place} {word}",
            r.choice(FIRST).format(p=place, w=word),
            word[index],
            f"{', '.join(f'{i} {c}' for i, c in enumerate(word, 1))}." if thinking else "",
        )
    if kind == 6:
        letters = "".join(w[0] for w in items)
        return asked(
            "strings",
            f"initials {items}",
            r.choice(INITIALS).format(x=shown),
            " ".join(letters),
            f"{', '.join(f'{w} {w[0]}' for w in items)}." if thinking else "",
        )
    if kind == 7:
        name = r.choice(list(SIGNS))
        return asked(
            "strings",
            f"join {items} {name}",
            r.choice(JOIN).format(n=name, x=shown),
            SIGNS[name].join(items),
            f"{len(items)} words with {name} between them." if thinking else "",
        )
    if r.random() < 0.5:
        return asked(
            "strings",
            f"order {items}",
            r.choice(ORDER).format(x=", ".join(items)),
            ", ".join(items[::-1]),
            f"The last is {items[-1]}, the first is {items[0]}." if thinking else "",
        )
    gone = r.choice(items)
    left = ", ".join(i for i in items if i != gone)
    return asked(
        "strings",
        f"remove {gone} {items}",
        r.choice(REMOVE).format(a=gone, x=", ".join(items)),
        left,
        f"Everything but {gone}." if thinking else "",
    )
