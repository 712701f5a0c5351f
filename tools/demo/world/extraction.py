"""Extraction to JSON: a text, a schema with the keys in some order, and the object."""

from __future__ import annotations

import json
from random import Random

from . import words
from .conversation import Sample, asked

ASK = (
    "Extract the data as JSON with the keys {k}.\n\n{x}", "{x}\n\nGive this as JSON: {s}", "Read the text and fill in this schema: {s}\n\nText: {x}", "Return a JSON object with {k} from this text:\n{x}",
    "{x}\n\nWrite the facts as a JSON object with the keys {k}.", "Turn this into JSON ({k}): {x}", "Schema: {s}\nText: {x}\nAnswer with JSON only.", "From the following text, extract {k} as JSON:\n{x}",
    "Please convert to JSON with the keys {k}: {x}", "JSON please. Keys: {k}.\n{x}", "Fill the schema {s} from: {x}", "What are {k} here? Answer in JSON.\n{x}",
)  # fmt: skip


def person(r: Random) -> tuple[str, dict]:
    v = {"name": r.choice(words.NAMES), "age": r.randint(18, 90), "city": r.choice(words.CITIES), "job": r.choice(words.JOBS)}
    text = r.choice((
        "{name} is {age} years old, lives in {city} and works as {a_job}.", "My friend {name}, {a_job} from {city}, is {age}.", "Meet {name}. At {age}, this {job} lives in {city}.", "In {city} there is {a_job} called {name}, aged {age}.",
        "{name} works as {a_job} in {city}. Age: {age}.",
    ))  # fmt: skip
    return text.format(a_job=words.with_article(v["job"]), **v), v


def order(r: Random) -> tuple[str, dict]:
    v = {
        "customer": r.choice(words.NAMES),
        "item": r.choice(words.THINGS),
        "quantity": r.randint(2, 60),
        "price": r.randint(1, 200),
        "paid": r.random() < 0.5,
    }
    paid = (
        r.choice(("It is paid.", "The bill is paid."))
        if v["paid"]
        else r.choice(("It is not paid yet.", "The bill is still open."))
    )
    text = r.choice((
        "{customer} ordered {quantity} {items} at {price} dollars each.", "Order by {customer}: {quantity} {items}, {price} dollars each.", "{customer} buys {quantity} {items}. Each costs {price} dollars.",
        "We send {quantity} {items} to {customer}; one costs {price} dollars.",
    ))  # fmt: skip
    return text.format(items=words.plural(v["item"]), **v) + " " + paid, v


def meeting(r: Random) -> tuple[str, dict]:
    v = {
        "day": r.choice(words.WEEKDAYS),
        "hour": r.randint(7, 20),
        "place": r.choice(words.PLACES),
        "people": r.sample(words.NAMES, r.randint(2, 3)),
    }
    text = r.choice((
        "{who} meet on {day} at {hour} o'clock at the {place}.", "The meeting of {who} is on {day} at {hour} at the {place}.", "On {day}, {who} will be at the {place} at {hour} o'clock.", "At {hour} on {day}, {who} come to the {place}.",
    ))  # fmt: skip
    return text.format(who=words.listed(v["people"]), **v), v


def weather(r: Random) -> tuple[str, dict]:
    v = {
        "city": r.choice(words.CITIES),
        "temperature": r.randint(-9, 39),
        "sky": r.choice(("sunny", "cloudy", "rainy", "windy", "snowy", "clear")),
        "day": r.choice(words.WEEKDAYS),
    }
    text = r.choice((
        "It is {sky} in {city} on {day}, with {temperature} degrees.", "{day} in {city}: {sky}, {temperature} degrees.", "On {day} {city} will be {sky} at {temperature} degrees.", "The weather for {city}, {day}: {temperature} degrees and {sky}.",
    ))  # fmt: skip
    return text.format(**v), v


def lost(r: Random) -> tuple[str, dict]:
    v = {
        "owner": r.choice(words.NAMES),
        "thing": r.choice(words.THINGS),
        "color": r.choice(words.COLORS),
        "place": r.choice(words.PLACES),
        "found": r.random() < 0.5,
    }
    tail = (
        r.choice(("It was found.", "Somebody has found it."))
        if v["found"]
        else r.choice(("It is still missing.", "Nobody has found it."))
    )
    text = r.choice(
        (
            "{owner} lost {a} at the {place}.",
            "At the {place}, {owner} left {a} behind.",
            "{owner} was at the {place} and forgot {a} there.",
        )
    )
    return text.format(a=words.with_article(f"{v['color']} {v['thing']}"), **v) + " " + tail, v


def type_of(value) -> str:
    return {str: "string", bool: "boolean", int: "integer", list: "array"}[type(value)]


def extraction(r: Random, thinking: bool) -> Sample:
    text, values = r.choice((person, order, meeting, weather, lost))(r)
    keys = r.sample(list(values), r.randint(2, len(values)))
    schema = json.dumps({k: type_of(values[k]) for k in keys})
    question = r.choice(ASK).format(k=words.listed(keys) if r.random() < 0.6 else ", ".join(keys), s=schema, x=text)
    found = {k: values[k] for k in keys}
    steps = "; ".join(f"{k}: {json.dumps(v)}" for k, v in found.items()) + "."
    return asked("extraction", f"{text} {keys}", question, json.dumps(found), steps if thinking else "")
