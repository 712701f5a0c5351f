"""Several turns: what the user told earlier is asked later, with other talk between."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample

# The fact, how it is told, how it is asked, how it is answered.
TOPICS = (
    ("name", ("My name is {v}.", "I am {v}.", "Call me {v}.", "Hello, I'm {v}."), ("What is my name?", "Do you know my name?", "Who am I?", "How am I called?"), "Your name is {v}.", words.NAMES),
    ("city", ("I live in {v}.", "My home is in {v}.", "I am from {v}."), ("Where do I live?", "In which city do I live?", "Which city am I from?"), "You live in {v}.", words.CITIES),
    ("job", ("I work as {av}.", "I am {av}.", "My job is {v}."), ("What is my job?", "What do I work as?", "Which job do I have?"), "You are {av}.", words.JOBS),
    ("color", ("My favorite color is {v}.", "I like {v} best of all colors.", "The color I love is {v}."), ("What is my favorite color?", "Which color do I like best?", "Do you remember my favorite color?"), "Your favorite color is {v}.", words.COLORS),
    ("food", ("My favorite food is {v}.", "I love to eat {v}.", "I like {v} most of all dishes."), ("What is my favorite food?", "What do I love to eat?", "Which food do I like best?"), "Your favorite food is {v}.", words.FOODS),
    ("dog", ("My dog is called {v}.", "I have a dog named {v}.", "The name of my dog is {v}."), ("What is my dog called?", "What is the name of my dog?", "How is my dog called?"), "Your dog is called {v}.", words.NAMES),
    ("sister", ("My sister is called {v}.", "I have a sister named {v}.", "My sister's name is {v}."), ("What is my sister called?", "What is my sister's name?", "How is my sister called?"), "Your sister is called {v}.", words.NAMES),
    ("age", ("I am {v} years old.", "My age is {v}.", "I turned {v} this year."), ("How old am I?", "What is my age?", "Do you remember how old I am?"), "You are {v} years old.", [str(n) for n in range(18, 90)]),
    ("number", ("My lucky number is {v}.", "Remember the number {v}.", "The number to keep is {v}."), ("What is the number?", "Which number did I tell you?", "What number should you remember?"), "The number is {v}.", [str(n) for n in range(10, 1000)]),
    ("key", ("The key is in the {v}.", "I put the key into the {v}.", "I left the key in the {v}."), ("Where is the key?", "Where did I put the key?", "In what is the key?"), "The key is in the {v}.", ["box", "bag", "bowl", "cup", "desk", "drawer", "glove", "hat", "jar", "coat", "shoe", "vase", "wagon"]),
    ("word", ("The secret word is {v}.", "Remember this word: {v}", "My password is {v}."), ("What is the secret word?", "Which word should you remember?", "What is my password?", "What was the word?"), "The word is {v}.", words.ALL),
    ("day", ("My birthday is in {v}.", "I was born in {v}."), ("In which month is my birthday?", "When was I born?", "What is the month of my birthday?"), "Your birthday is in {v}.", words.MONTHS),
)  # fmt: skip
NOTED = "I will remember that."


def memory_problem(r: Random, thinking: bool, between) -> Sample:
    """`between(r)` gives question and answer of other talk."""
    topics = r.sample(TOPICS, r.randint(1, 5))
    told = [(topic, r.choice(topic[4])) for topic in topics]
    messages, key = [], []

    def say(topic, value, texts):
        return r.choice(texts).format(v=value, av=words.with_article(value))

    pending = list(told)
    while pending:
        some, pending = pending[: r.choice((1, 1, 2, 3))], pending[:]
        pending = pending[len(some) :]
        text = " ".join(say(t, v, t[1]) if not say(t, v, t[1]).endswith(v) else say(t, v, t[1][:1]) for t, v in some)
        key.append(" ".join(f"{t[0]} {v}" for t, v in some))
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": NOTED}]
        if r.random() < 0.35:
            question, answer = between(r)
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    asked_about = r.sample(told, min(len(told), r.choice((1, 1, 1, 2))))
    for i, (topic, value) in enumerate(asked_about):
        answer = {"role": "assistant", "content": topic[3].format(v=value, av=words.with_article(value))}
        if thinking and i == len(asked_about) - 1:
            answer["reasoning_content"] = "The user told me this.\n"
        messages += [{"role": "user", "content": say(topic, value, topic[2])}, answer]
    return Sample("memory", f"memory {key} {[t[0] for t, _ in asked_about]}", messages, thinking)
