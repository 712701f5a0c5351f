"""Copying and quoting of passages, up to some hundred tokens."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample, asked
from .lists import sentence

COPY = (
    "Repeat this text exactly:\n{x}", "Copy the following:\n{x}", "Say this again, word for word:\n{x}", "Write exactly this:\n{x}", "Please repeat:\n{x}", "Repeat after me: {x}",
    "Give back this passage without any change:\n{x}", "{x}\n\nRepeat the text above.", "{x}\n\nCopy that.", "Quote this passage in full:\n{x}", "Echo: {x}", "Type this text again:\n{x}",
)  # fmt: skip
NTH = (
    "{x}\n\nQuote the {o} sentence.", "What is the {o} sentence of this text?\n{x}", "Quote the {o} sentence of the passage:\n{x}", "{x}\n\nWhich sentence comes {o}?", "Copy only the {o} sentence:\n{x}", "Read this:\n{x}\n\nNow repeat the {o} sentence.",
)  # fmt: skip
WITH = (
    "{x}\n\nQuote the sentence that contains \"{w}\".", "Which sentence of this text has the word {w}?\n{x}", "Find the sentence with {w}:\n{x}", "{x}\n\nIn which sentence is {w}? Quote it.", "Quote the sentence about {w}:\n{x}",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "last")


def passage(r: Random) -> str:
    shape = r.random()
    if shape < 0.5:
        return " ".join(sentence(r) for _ in range(min(r.randint(1, 36), r.randint(1, 36))))
    if shape < 0.65:
        return " ".join(r.choice(words.ALL) for _ in range(r.randint(5, 40)))
    if shape < 0.75:
        return " ".join(str(r.randint(0, 999)) for _ in range(r.randint(4, 24)))
    if shape < 0.85:
        return "\n".join(f"{i}. {sentence(r)}" for i in range(1, r.randint(3, 8)))
    if shape < 0.93:
        return ", ".join(f"{r.choice(words.NAMES)} {r.choice(words.THINGS)} {r.randint(1, 99)}" for _ in range(r.randint(3, 12)))
    return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(4, 12)))


def copy_problem(r: Random, thinking: bool) -> Sample:
    kind = r.random()
    if kind < 0.6:
        text = passage(r)
        return asked("copying", text, r.choice(COPY).format(x=text), text, "I copy the text." if thinking else "")
    sentences = [sentence(r) for _ in range(r.randint(3, 7))]
    text = " ".join(sentences)
    if kind < 0.8:
        which = r.choice([o for i, o in enumerate(ORDINALS) if i < len(sentences) or o == "last"])
        chosen = sentences[-1] if which == "last" else sentences[ORDINALS.index(which)]
        steps = " ".join(f"{i} {' '.join(s.split()[:2])}," for i, s in enumerate(sentences, 1)).rstrip(",") + "."
        return asked("copying", f"{which} {text}", r.choice(NTH).format(x=text, o=which), chosen, steps if thinking else "")
    chosen = r.choice(sentences)
    marks = [
        w
        for w in chosen.strip(".").replace(",", "").split()
        if w in words.ALL and sum(w in s.strip(".").replace(",", "").split() for s in sentences) == 1
    ]
    if not marks:
        return copy_problem(r, thinking)
    mark = r.choice(marks)
    return asked(
        "copying", f"{mark} {text}", r.choice(WITH).format(x=text, w=mark), chosen, f"{mark} is in it." if thinking else ""
    )
