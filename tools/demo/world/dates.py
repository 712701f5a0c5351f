"""Weekdays and dates: what day comes, how long until, which date then; a year of 365 days."""

from __future__ import annotations

from random import Random

from .conversation import Sample, asked
from .numbers import add_steps, subtract_steps
from .words import MONTH_DAYS, MONTHS, WEEKDAYS

AHEAD = (
    "Today is {d}. What day is it in {n} days?", "If today is {d}, what day will it be in {n} days?", "It is {d}. Which weekday comes {n} days later?",
    "What weekday is {n} days after {d}?", "{d} plus {n} days is which day?", "Which day of the week is it {n} days after a {d}?", "Starting on {d}, what day is it after {n} days?",
    "My holiday starts {n} days after {d}. Which weekday is that?", "Count {n} days from {d}. What day is it?", "The parcel left on {d} and takes {n} days. On what weekday does it come?",
)  # fmt: skip
BACK = (
    "Today is {d}. What day was it {n} days ago?", "What weekday is {n} days before {d}?", "It is {d}. Which day was {n} days earlier?", "If today is {d}, what was the day {n} days ago?",
)  # fmt: skip
ANCHOR = (
    "{m} {a} is a {d}. What weekday is {m} {b}?", "If {m} {a} falls on a {d}, on what day does {m} {b} fall?", "{m} {a} was a {d}. Which weekday was {m} {b}?",
    "Given that {m} {a} is a {d}, what day is {m} {b}?", "The {a}th of {m} is a {d}. What day of the week is the {b}th of {m}?",
)  # fmt: skip
BETWEEN = (
    "How many days are there from {x} to {y}?", "How many days lie between {x} and {y}?", "It is {x}. How many days until {y}?", "Count the days from {x} to {y}.",
    "How long is it from {x} to {y}, in days?", "My trip starts on {x} and ends on {y}. How many days later is the end?", "What is the number of days from {x} to {y}?",
)  # fmt: skip
ADD = (
    "What date is {n} days after {x}?", "Add {n} days to {x}.", "It is {x}. What is the date in {n} days?", "Which date comes {n} days after {x}?", "{x} plus {n} days?",
    "The bill of {x} is due in {n} days. On what date?", "Today is {x}. Give me the date {n} days from now.", "If I start on {x} and wait {n} days, what date is it?",
)  # fmt: skip


def weekday_steps(day: int, n: int, direction: int = 1) -> tuple[str, str]:
    rest = n % 7
    text = f"{n} = {n // 7} * 7 + {rest}. " if n >= 7 else ""
    seen = [WEEKDAYS[(day + direction * i) % 7] for i in range(1, rest + 1)]
    text += (
        f"{rest} days {'after' if direction > 0 else 'before'} {WEEKDAYS[day]}: {', '.join(seen)}."
        if rest
        else f"No days are left: {WEEKDAYS[day]}."
    )
    return text, seen[-1] if seen else WEEKDAYS[day]


def date_problem(r: Random, thinking: bool) -> Sample:
    kind = r.randrange(6) if thinking else r.choice((0, 1, 6, 7))
    day, month = r.randrange(7), r.randrange(12)
    name, length = MONTHS[month], MONTH_DAYS[month]
    if kind == 0:
        n = r.randint(1, 60 if thinking else 3)
        text, answer = weekday_steps(day, n)
        return asked(
            "dates",
            f"{day}+{n}",
            r.choice(AHEAD).format(d=WEEKDAYS[day], n=n).replace(" 1 days", " 1 day"),
            answer,
            text if thinking else "",
        )
    if kind == 1:
        n = r.randint(1, 30 if thinking else 2)
        text, answer = weekday_steps(day, n, -1)
        return asked(
            "dates",
            f"{day}-{n}",
            r.choice(BACK).format(d=WEEKDAYS[day], n=n).replace(" 1 days", " 1 day"),
            answer,
            text if thinking else "",
        )
    if kind == 2:
        a = r.randint(4, length - 10)
        b = r.randint(a + 1, length)
        text, answer = weekday_steps(day, b - a)
        question = r.choice(ANCHOR)
        if "th of" in question:  # ordinals only where they are regular
            a, b = r.randint(4, 9), r.randint(10, 20)
            text, answer = weekday_steps(day, b - a)
        return asked(
            "dates",
            f"{day} {a} {b} {month}",
            question.format(m=name, a=a, b=b, d=WEEKDAYS[day]),
            answer,
            f"{subtract_steps(b, a)} {text}",
        )
    following = (month + 1) % 12
    if kind in (3, 4):
        a = r.randint(1, length)
        if r.random() < 0.5 and a < length:
            b = r.randint(a + 1, length)
            steps, total, end = subtract_steps(b, a), b - a, f"{name} {b}"
        else:
            b = r.randint(1, 28)
            left = length - a
            steps = f"{name} has {length} days. {subtract_steps(length, a)} {add_steps(left, b)}"
            total, end = left + b, f"{MONTHS[following]} {b}"
        unit = "day" if total == 1 else "days"
        return asked("dates", f"{name} {a} {end}", r.choice(BETWEEN).format(x=f"{name} {a}", y=end), f"{total} {unit}", steps)
    if kind == 5:
        a, n = r.randint(1, length), r.randint(2, 30)
        steps = f"{add_steps(a, n)} {name} has {length} days. "
        if a + n > length:
            b, end = a + n - length, MONTHS[following]
            steps += f"{a + n} is more. {subtract_steps(a + n, length)} {end} {b}."
            if b > MONTH_DAYS[following]:
                return date_problem(r, thinking)
        else:
            b, end = a + n, name
            steps += f"{b} is in {name}."
        return asked("dates", f"{name} {a} + {n}", r.choice(ADD).format(x=f"{name} {a}", n=n), f"{end} {b}", steps)
    if kind == 6:
        question = r.choice(
            (
                "How many days does {m} have?",
                "How long is {m}, in days?",
                "Number of days in {m}?",
                "How many days are there in {m}?",
                "Tell me how many days {m} has.",
            )
        )
        return asked("dates", question + name, question.format(m=name), f"{length} days")
    after = r.random() < 0.5
    question = r.choice(
        (
            "Which month comes {w} {m}?",
            "What is the month {w} {m}?",
            "Name the month {w} {m}.",
            "Tell me the month that comes right {w} {m}.",
        )
    )
    answer = MONTHS[following if after else month - 1]
    return asked("dates", f"{question} {after} {name}", question.format(w="after" if after else "before", m=name), answer)
