"""Greetings, thanks, and who is answering."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample, asked

WHO = "I am the demo model of nibble, a small hybrid of Mamba layers, experts and attention. I know a small world."
CAN = "I can calculate, convert units, work with dates, sort and count, edit words, extract JSON, call tools, tell short stories, answer simple questions and repeat what you write."
HELLO = "Hello! How can I help you?"
TALKS = (
    (("Hi", "Hello", "Hello!", "Hi!", "Hey", "Hi there", "Good morning", "Good evening!", "Hello there.", "Hey, how is it going?", "hi", "hello"), HELLO, "A greeting."),
    (("Who are you?", "What are you?", "Tell me about yourself.", "What is your name?", "Which model are you?", "Introduce yourself.", "Are you a person?", "What model is this?", "who are you", "Who am I talking to?"), WHO, "They ask who I am."),
    (("What can you do?", "How can you help me?", "What are you good at?", "Help", "What do you know?", "What can I ask you?", "Which tasks can you do?", "help me", "What are your skills?"), CAN, "They ask what I can do."),
    (("Thanks", "Thank you!", "Thanks a lot.", "Thank you very much.", "Great, thanks!", "thanks", "Many thanks."), "You are welcome!", "Thanks."),
    (("Bye", "Goodbye!", "See you.", "Good night.", "Bye bye", "See you later!", "bye"), "Goodbye!", "A farewell."),
    (("How are you?", "How do you do?", "How are you today?", "Are you well?"), "I am well, thank you. How can I help you?", "A friendly question."),
    (("Who made you?", "Who trained you?", "Where do you come from?", "Who built you?"), "I was trained by the nibble project on text that a program wrote.", "They ask where I come from."),
    (("What is nibble?", "Tell me about nibble.", "What does nibble do?", "Explain nibble."), "nibble is a program that serves language models whose weights have four bits.", "They ask about nibble."),
    (("How big are you?", "How many parameters do you have?", "Are you a large model?"), "I am small: about eleven million parameters, most of them in four bits.", "They ask about my size."),
)  # fmt: skip
UNKNOWN = "I do not know that. I am a small model and know a small world."
STRANGE = (
    "Who won the game yesterday?", "What is the meaning of life?", "What will happen tomorrow?", "How do I build a rocket?", "What is the price of gold today?", "Who is the best singer?", "Explain quantum physics.",
    "What did I have for breakfast?", "Write a program in Python.", "How do I fix my car?", "What is the news?", "Who is the president?", "Translate this into French.", "What should I wear?", "Give me advice about money.",
)  # fmt: skip
SYSTEMS = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are nibble's demo model.", "Be brief.", "Answer the user's question.", "You are a friendly assistant.", "Think step by step.", "You are an assistant that gives exact answers.",
    "Help the user with everyday tasks.", "Answer precisely.", "You are a careful assistant.", "Be helpful and polite.",
)  # fmt: skip


def system_prompt(r: Random) -> str:
    return "" if r.random() < 0.45 else r.choice(SYSTEMS)


def talk(r: Random, thinking: bool) -> Sample:
    pick = r.random()
    if pick < 0.12:
        question = r.choice(STRANGE)
        return asked("talk", question, question, UNKNOWN, "I do not know this." if thinking else "")
    if pick < 0.3:  # the system prompt gives another name
        name = r.choice(words.NAMES)
        sample = asked(
            "talk",
            f"named {name}",
            r.choice(("Who are you?", "What is your name?", "What are you called?", "Hello, who is this?", "Tell me your name.")),
            f"I am {name}.",
            "The system prompt says it." if thinking else "",
        )
        said = r.choice(("You are {n}.", "Your name is {n}.", "You are called {n}.", "You are {n}, a helpful assistant.")).format(
            n=name
        )
        sample.messages.insert(0, {"role": "system", "content": said})
        return sample
    questions, answer, steps = r.choice(TALKS)
    question = r.choice(questions)
    return asked("talk", f"talk {question}", question, answer, steps if thinking else "")
