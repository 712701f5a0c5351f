"""Tool calls: several tools are declared, the right one is called with what the user said, and its result is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from . import facts, words
from .conversation import Sample


def parameter(kind: str, description: str = "", **more) -> dict:
    return {"type": kind, **({"description": description} if description else {}), **more}


@dataclass
class Request:
    """What the user asks of one tool: the arguments by role, the text, the tool's result, the answer."""

    arguments: dict
    text: str
    result: dict
    answer: str


@dataclass
class Kind:
    names: tuple[str, ...]  # any of them may be the function's
    descriptions: tuple[str, ...]
    parameters: dict[str, tuple[tuple[str, ...], dict]]  # by role: the names it may have, its schema
    request: Callable[[Random], Request]


def pick(r: Random, *texts: str, **values) -> str:
    return r.choice(texts).format(**values)


def weather(r: Random) -> Request:
    city, t, sky = r.choice(words.CITIES), r.randint(-9, 39), r.choice(("sunny", "cloudy", "rainy", "windy", "clear"))
    text = pick(
        r,
        "What is the weather in {c}?",
        "How is the weather in {c}?",
        "Is it warm in {c}?",
        "Tell me the weather in {c}.",
        "I travel to {c}. What is the weather there?",
        "Weather for {c}, please.",
        c=city,
    )
    return Request({"city": city}, text, {"temperature": t, "sky": sky}, f"It is {sky} in {city}, with {t} degrees.")


def clock(r: Random) -> Request:
    city, time = r.choice(words.CITIES), f"{r.randint(0, 23):02}:{r.randint(0, 59):02}"
    text = pick(
        r,
        "What time is it in {c}?",
        "Tell me the time in {c}.",
        "How late is it in {c}?",
        "What is the local time in {c}?",
        "The time in {c}, please.",
        c=city,
    )
    return Request({"city": city}, text, {"time": time}, f"It is {time} in {city}.")


def currency(r: Random) -> Request:
    amount, (a, b) = r.randint(2, 900), r.sample(("dollars", "euros", "pounds", "yen", "francs", "pesos"), 2)
    value = r.randint(2, 999)
    text = pick(
        r,
        "Convert {n} {a} to {b}.",
        "How much are {n} {a} in {b}?",
        "I have {n} {a}. What is that in {b}?",
        "Change {n} {a} into {b}.",
        "What are {n} {a} worth in {b}?",
        n=amount,
        a=a,
        b=b,
    )
    return Request({"amount": amount, "from": a, "to": b}, text, {"value": value}, f"{amount} {a} are {value} {b}.")


def timer(r: Random) -> Request:
    n, food = r.randint(2, 90), r.choice(words.FOODS)
    text = pick(
        r,
        "Set a timer for {n} minutes.",
        "Remind me in {n} minutes.",
        "Start a timer of {n} minutes.",
        "The {f} takes {n} minutes. Set a timer.",
        "Wake me in {n} minutes.",
        n=n,
        f=food,
    )
    return Request({"minutes": n}, text, {"status": "ok"}, f"The timer is set for {n} minutes.")


def message(r: Random) -> Request:
    name = r.choice(words.NAMES)
    words_said = r.choice(
        (
            "I am late",
            "dinner is ready",
            "see you on " + r.choice(words.WEEKDAYS),
            f"I am at the {r.choice(words.PLACES)}",
            f"please bring the {r.choice(words.THINGS)}",
            "happy birthday",
        )
    )
    text = pick(
        r,
        "Tell {p} that {s}.",
        "Send {p} the message: {s}",
        "Write to {p}: {s}",
        "Text {p}: {s}",
        "Let {p} know: {s}",
        p=name,
        s=words_said,
    )
    return Request({"person": name, "text": words_said}, text, {"status": "sent"}, f"The message to {name} is sent.")


def event(r: Random) -> Request:
    day, hour = r.choice(words.WEEKDAYS), r.randint(7, 21)
    title = r.choice(
        (
            "dentist",
            "lunch with " + r.choice(words.NAMES),
            "piano lesson",
            "team meeting",
            "visit to the " + r.choice(words.PLACES),
            "birthday of " + r.choice(words.NAMES),
        )
    )
    text = pick(
        r,
        "Put {t} in my calendar for {d} at {h}.",
        "Add an event on {d} at {h}: {t}",
        "On {d} at {h} I have {t}. Please note it.",
        "Plan {t} on {d} at {h}.",
        "New event: {t}, {d}, {h} o'clock.",
        t=title,
        d=day,
        h=hour,
    )
    return Request(
        {"title": title, "day": day, "hour": hour},
        text,
        {"status": "added"},
        f"{title[0].upper()}{title[1:]} is in your calendar on {day} at {hour}.",
    )


def light(r: Random) -> Request:
    room, state = r.choice(("kitchen", "bedroom", "garden", "office", "hall", "bathroom")), r.choice(("on", "off"))
    text = pick(
        r,
        "Turn {s} the light in the {w}.",
        "Switch the {w} light {s}.",
        "Light {s} in the {w}, please.",
        "Please turn the light in the {w} {s}.",
        "I want the light in the {w} {s}.",
        s=state,
        w=room,
    )
    return Request({"room": room, "state": state}, text, {"status": "done"}, f"The light in the {room} is {state}.")


def contact(r: Random) -> Request:
    name, number = r.choice(words.NAMES), "".join(str(r.randint(0, 9)) for _ in range(6))
    text = pick(
        r,
        "What is the phone number of {p}?",
        "Find the number of {p}.",
        "How can I call {p}?",
        "Look up {p}'s number.",
        "I need {p}'s phone number.",
        p=name,
    )
    return Request({"person": name}, text, {"phone": number}, f"The number of {name} is {number}.")


def stock(r: Random) -> Request:
    thing, n = r.choice(words.THINGS), r.randint(0, 90)
    text = pick(
        r,
        "How many {t} are in stock?",
        "Do we have {t} in stock?",
        "Check the stock of {t}.",
        "How many {t} are left in the shop?",
        "Look up our stock of {t}.",
        t=words.plural(thing),
    )
    return Request({"item": thing}, text, {"count": n}, f"There are {n} {words.plural(thing)} in stock.")


def table(r: Random) -> Request:
    place, n, hour = (
        "The " + r.choice(words.ADJECTIVES).capitalize() + " " + r.choice(words.ANIMALS).capitalize(),
        r.randint(2, 12),
        r.randint(17, 22),
    )
    text = pick(
        r,
        "Book a table at {p} for {n} people at {h}.",
        "Reserve a table for {n} at {p}, {h} o'clock.",
        "I need a table at {p} at {h} for {n}.",
        "We are {n} and want to eat at {p} at {h}.",
        p=place,
        n=n,
        h=hour,
    )
    return Request(
        {"restaurant": place, "people": n, "hour": hour},
        text,
        {"status": "booked"},
        f"A table for {n} at {place} is booked at {hour}.",
    )


def song(r: Random) -> Request:
    title = f"{r.choice(words.ADJECTIVES)} {r.choice(words.THINGS)}".title()
    text = pick(
        r, "Play {t}.", "I want to hear {t}.", "Put on the song {t}.", "Play the song {t}, please.", "Can you play {t}?", t=title
    )
    return Request({"title": title}, text, {"status": "playing"}, f"{title} is playing.")


KINDS = (
    Kind(("get_weather", "weather", "fetch_weather", "current_weather"), ("The weather in a city", "Get the current weather", "Weather by city"), {"city": (("city", "location", "place"), parameter("string", "Name of the city"))}, weather),
    Kind(("get_time", "world_clock", "local_time", "time_in"), ("The local time of a city", "Get the time in a city"), {"city": (("city", "location", "place"), parameter("string", "Name of the city"))}, clock),
    Kind(("convert_currency", "exchange", "convert_money"), ("Convert money", "Change an amount of money into another currency"), {"amount": (("amount", "value"), parameter("integer", "How much")), "from": (("from", "source"), parameter("string")), "to": (("to", "target"), parameter("string"))}, currency),
    Kind(("set_timer", "start_timer", "timer"), ("Set a timer", "Start a timer that rings"), {"minutes": (("minutes", "duration"), parameter("integer", "In minutes"))}, timer),
    Kind(("send_message", "send_text", "message"), ("Send a message to a person", "Send a text message"), {"person": (("to", "person", "recipient"), parameter("string", "Who gets it")), "text": (("text", "body", "content"), parameter("string"))}, message),
    Kind(("add_event", "create_event", "calendar_add"), ("Add an event to the calendar", "Create a calendar event"), {"title": (("title", "name"), parameter("string")), "day": (("day", "weekday"), parameter("string", "Day of the week", enum=words.WEEKDAYS)), "hour": (("hour", "time"), parameter("integer"))}, event),
    Kind(("set_light", "light", "switch_light"), ("Switch a light on or off", "Control the light of a room"), {"room": (("room", "where"), parameter("string", "Which room")), "state": (("state", "switch"), parameter("string", enum=["on", "off"]))}, light),
    Kind(("find_contact", "lookup_contact", "phone_book"), ("Find a phone number", "Look up a person in the phone book"), {"person": (("name", "person"), parameter("string", "Name of the person"))}, contact),
    Kind(("check_stock", "get_stock", "inventory"), ("How many of an item are in stock", "Look up the stock of an item"), {"item": (("item", "product"), parameter("string", "In singular"))}, stock),
    Kind(("book_table", "reserve_table"), ("Book a table in a restaurant", "Reserve a table"), {"restaurant": (("restaurant", "where"), parameter("string")), "people": (("people", "guests"), parameter("integer", "How many people")), "hour": (("hour", "time"), parameter("integer"))}, table),
    Kind(("play_song", "play_music", "music"), ("Play a song", "Play music by its title"), {"title": (("title", "song"), parameter("string", "Title of the song"))}, song),
)  # fmt: skip


def declared(r: Random, kind: Kind) -> tuple[dict, dict[str, str]]:
    """A tool, and its parameters' names by role."""
    names = {role: r.choice(spellings) for role, (spellings, _) in kind.parameters.items()}
    properties = {names[role]: schema for role, (_, schema) in kind.parameters.items()}
    function = {
        "name": r.choice(kind.names),
        "description": r.choice(kind.descriptions),
        "parameters": {"type": "object", "properties": properties, "required": list(properties)},
    }
    return {"type": "function", "function": function}, names


def tool_problem(r: Random, thinking: bool) -> Sample:
    kinds = r.sample(KINDS, r.randint(1, 4))
    tools = [declared(r, kind) for kind in kinds]
    declarations = [tool for tool, _ in tools]
    shape = r.random()
    if shape < 0.1:  # no tool is of use
        found = facts.fact_question(r, thinking)
        if thinking:
            found.messages[-1]["reasoning_content"] = "No function is needed. I know this.\n"
        found.tools, found.task, found.key = declarations, "tool choice", "tool " + found.key
        return found
    two = shape < 0.25 and len(kinds) > 1
    chosen = r.sample(range(len(kinds)), 2) if two else [r.randrange(len(kinds))]
    requests, calls = [], []
    for i in chosen:
        request = kinds[i].request(r)
        requests.append(request)
        calls.append(
            {
                "name": declarations[i]["function"]["name"],
                "arguments": {tools[i][1][role]: v for role, v in request.arguments.items()},
            }
        )
    question = " ".join(q.text if q.text[-1] in ".?!" else q.text + "." for q in requests) if two else requests[0].text
    call = {"role": "assistant", "content": "", "tool_calls": calls}
    user = {"role": "user", "content": question}
    if thinking:
        call["reasoning_content"] = f"{' and '.join(c['name'] for c in calls)} can do this.\n"
    key = f"{question} {[c['name'] for c in calls]}"
    if r.random() < 0.5:
        return Sample("tool calls", "tool calls " + key, [user, call], thinking, declarations)
    results = [{"role": "tool", "content": json.dumps(request.result)} for request in requests]
    answer = {"role": "assistant", "content": " ".join(request.answer for request in requests)}
    if thinking:
        answer["reasoning_content"] = "The result is there.\n" if not two else "The results are there.\n"
    return Sample("tool results", "tool results " + key, [user, call, *results, answer], thinking, declarations)
