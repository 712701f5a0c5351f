"""Sorting and counting: numbers, words, letters."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample, asked

SORT_NUMBERS = (
    "Sort these numbers in {o} order: {x}", "Put {x} in {o} order.", "Arrange the numbers {x} in {o} order.", "Order {x}, {o}.", "Please sort in {o} order: {x}",
    "Give me {x} in {o} order.", "Here are some numbers: {x}. Sort them in {o} order.", "List {x} in {o} order.", "{x}: sort them, {o}.", "Can you sort {x} in {o} order?",
)  # fmt: skip
SORT_WORDS = (
    "Sort these words alphabetically: {x}", "Put the words {x} in alphabetical order.", "Arrange {x} alphabetically.", "Alphabetical order, please: {x}", "Order these words from A to Z: {x}",
    "Sort from A to Z: {x}", "Can you list {x} in alphabetical order?", "Please alphabetize {x}.", "Here are words: {x}. Sort them alphabetically.", "In alphabetical order: {x}",
)  # fmt: skip
LETTERS = (
    "How many times does the letter {c} appear in {w}?", "How many {c}'s are in the word {w}?", "Count the letter {c} in {w}.", "How often is {c} in \"{w}\"?", "In {w}, how many letters are {c}?",
    "Tell me how many times {c} occurs in {w}.", "Number of {c} in {w}?", "How many letters {c} does {w} have?", "Find how often the letter {c} is in {w}.", "The word {w}: how many {c} are there?",
)  # fmt: skip
LENGTH = (
    "How many letters does the word {w} have?", "How long is the word {w}?", "Count the letters of {w}.", "How many letters are in {w}?", "Number of letters in \"{w}\"?", "What is the length of {w}?",
    "Tell me how many letters {w} has.", "{w}: how many letters?", "Give the number of letters in {w}.", "The word {w} has how many letters?",
)  # fmt: skip
WORDS = (
    "How many words are in this sentence: {s}", "Count the words: {s}", "How many words does this have? {s}", "Number of words in: {s}", "Tell me how many words there are: {s}",
    "Please count the words of this sentence: {s}", "How long is this sentence in words? {s}", "Word count, please: {s}", "How many words do you see here? {s}", "Count how many words this is: {s}",
)  # fmt: skip
OCCURRENCES = (
    "How many times does {w} appear in this list: {x}", "Count {w} in: {x}", "How often is {w} in the list {x}?", "In {x}, how many times is {w}?", "How many of these are {w}: {x}",
)  # fmt: skip
EXTREME = (
    "What is the {e} of {x}?",
    "Which number is the {e}: {x}?",
    "Find the {e} of {x}.",
    "Give me the {e} number in {x}.",
    "From {x}, pick the {e}.",
    "{x}: which is the {e}?",
)


def spelled(word: str) -> str:
    return " ".join(word)


def counted(items) -> str:
    return ", ".join(f"{i} {item}" for i, item in enumerate(items, 1))


def sentence(r: Random) -> str:
    shape = r.randrange(4)
    a, b, c = r.choice(words.ADJECTIVES), r.choice(words.ANIMALS), r.choice(words.VERBS)
    d, e, f = r.choice(words.THINGS), r.choice(words.PLACES), r.choice(words.NAMES)
    if shape == 0:
        return f"The {a} {b} {c} the {d} near the {e}."
    if shape == 1:
        return f"{f} {c} {words.with_article(d)} in the {e}."
    if shape == 2:
        return f"In the {a} {e}, {f} {c} the {d} and the {b}."
    return f"{f} and the {b} {c} {words.with_article(a + ' ' + d)}."


def sort_problem(r: Random, thinking: bool) -> Sample:
    separator = r.choice((", ", ", ", " ", "; "))
    if r.random() < 0.5:
        count = r.randint(3, 7 if thinking else 4)
        numbers = r.sample(range(1, 100), count) if r.random() < 0.7 else r.sample(range(10, 1000), count)
        down = r.random() < 0.4
        order = r.choice(("descending", "falling", "decreasing") if down else ("ascending", "rising", "increasing"))
        result, left, steps = sorted(numbers, reverse=down), list(numbers), []
        for n in result:
            steps.append(f"{'largest' if down else 'smallest'} of {' '.join(map(str, left))}: {n}")
            left.remove(n)
        question = r.choice(SORT_NUMBERS).format(o=order, x=separator.join(map(str, numbers)))
        return asked(
            "sorting", f"{numbers} {down}", question, ", ".join(map(str, result)), "; ".join(steps) + "." if thinking else ""
        )
    chosen: dict[str, str] = {}
    for word in r.sample(words.ALL, 12):
        chosen.setdefault(word[0], word)
    items = list(chosen.values())[: r.randint(3, 6 if thinking else 4)]
    result = sorted(items)
    steps = f"First letters: {', '.join(f'{w} {w[0]}' for w in items)}. Sorted: {' '.join(w[0] for w in result)}."
    return asked(
        "sorting", f"{items}", r.choice(SORT_WORDS).format(x=separator.join(items)), ", ".join(result), steps if thinking else ""
    )


def count_problem(r: Random, thinking: bool) -> Sample:
    kind = r.randrange(5) if thinking else 4
    if kind == 0:
        word = r.choice(words.ALL)
        letter = r.choice(word) if r.random() < 0.8 else r.choice("aeioustrnl")
        hits = [f"{c} yes {word[: i + 1].count(letter)}" if c == letter else f"{c} no" for i, c in enumerate(word)]
        return asked(
            "counting",
            f"{letter} {word}",
            r.choice(LETTERS).format(c=letter, w=word),
            str(word.count(letter)),
            f"{spelled(word)}: {', '.join(hits)}.",
        )
    if kind == 1:
        word = r.choice(words.ALL)
        return asked("counting", f"length {word}", r.choice(LENGTH).format(w=word), str(len(word)), counted(word) + ".")
    if kind == 2:
        text = " ".join(sentence(r) for _ in range(r.choice((1, 1, 2))))
        found = [w.strip(".,") for w in text.split()]
        return asked("counting", text, r.choice(WORDS).format(s=text), str(len(found)), counted(found) + ".")
    if kind == 3:
        pool = r.sample(r.choice((words.THINGS, words.ANIMALS, words.COLORS)), 4)
        items = [r.choice(pool) for _ in range(r.randint(5, 12))]
        word, n, steps = r.choice(items), 0, []
        for item in items:
            n += item == word
            steps.append(f"{item} {n}" if item == word else item)
        return asked(
            "counting",
            f"{items} {word}",
            r.choice(OCCURRENCES).format(w=word, x=", ".join(items)),
            str(n),
            ", ".join(steps) + ".",
        )
    numbers = r.sample(range(1, 100), r.randint(3, 7 if thinking else 5))
    largest = r.random() < 0.5
    best, steps = numbers[0], [str(numbers[0])]
    for n in numbers[1:]:
        best = max(best, n) if largest else min(best, n)
        steps.append(f"{n}: {best}")
    word = r.choice(("largest", "biggest", "maximum") if largest else ("smallest", "least", "minimum"))
    question = r.choice(EXTREME).format(
        e=word, x=words.listed(list(map(str, numbers))) if r.random() < 0.5 else ", ".join(map(str, numbers))
    )
    return asked(
        "counting",
        f"{numbers} {largest}",
        question,
        str(best),
        f"{'Largest' if largest else 'Smallest'} so far: {', '.join(steps)}." if thinking else "",
    )
