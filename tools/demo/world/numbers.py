"""Arithmetic and unit conversion, with the steps written out, and what is small enough to be known."""

from __future__ import annotations

from random import Random

from . import words
from .conversation import Sample, asked


def add_steps(a: int, b: int) -> str:
    x, y, carry, steps = str(a)[::-1], str(b)[::-1], 0, []
    for i in range(max(len(x), len(y))):
        digits = [int(s[i]) for s in (x, y) if i < len(s)]
        terms = " + ".join(str(d) for d in digits + ([1] if carry else []))
        total = sum(digits) + carry
        steps.append(
            f"{terms} = {total}" + (f", write {total % 10}, carry 1" if total > 9 else f", write {total}")
            if len(digits) + carry > 1
            else f"write {total}"
        )
        carry = total // 10
    if carry:
        steps.append("write 1")
    return f"{a} + {b}: " + "; ".join(steps) + f". So {a + b}."


def subtract_steps(a: int, b: int) -> str:
    x, y, borrow, steps = str(a)[::-1], str(b)[::-1], 0, []
    for i, digit in enumerate(x):
        top, low = int(digit), int(y[i]) if i < len(y) else 0
        take = top - borrow
        shown = f"{top} - 1 = {take}, " if borrow else ""
        if take < low:
            steps.append(f"{shown}borrow, {take + 10} - {low} = {take + 10 - low}")
            borrow = 1
        else:
            steps.append(f"{shown}{take} - {low} = {take - low}")
            borrow = 0
    return f"{a} - {b}: " + "; ".join(steps) + f". So {a - b}."


def multiply_steps(a: int, b: int) -> str:
    """b has one digit."""
    parts = [int(d) * 10**p for p, d in zip(range(len(str(a)) - 1, -1, -1), str(a)) if d != "0"]
    text = f"{a} * {b}: " + ", ".join(f"{p} * {b} = {p * b}" for p in parts)
    total = parts[0] * b
    for p in parts[1:]:
        text += f"; {total} + {p * b} = {total + p * b}"
        total += p * b
    return text + f". So {a * b}."


def divide_steps(a: int, b: int) -> str:
    rest, steps = 0, []
    for d in str(a):
        have = rest * 10 + int(d)
        rest = have % b
        steps.append(f"{have} / {b} = {have // b} rest {rest}")
    return f"{a} / {b}: " + "; ".join(steps) + f". So {a // b}."


STEPS = {"+": add_steps, "-": subtract_steps, "*": multiply_steps, "/": divide_steps}
SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
ASK = (
    "What is {e}?", "Compute {e}.", "Calculate {e}.", "{e} = ?", "How much is {e}?", "Please work out {e}.", "Tell me {e}.", "Give me the result of {e}.",
    "I need the value of {e}.", "Can you solve {e}?", "What do you get for {e}?", "Find {e}.", "{e}", "Could you tell me what {e} is?", "Evaluate {e}.",
)  # fmt: skip


def sum_problem(r: Random, thinking: bool) -> Sample:
    op = r.choice("++--**/")
    if thinking:
        big = r.random() < 0.6
        if op == "+":
            a, b = (r.randint(100, 999), r.randint(10, 999)) if big else (r.randint(2, 99), r.randint(2, 99))
        elif op == "-":
            a = r.randint(100, 999) if big else r.randint(10, 99)
            b = r.randint(1, a)
        elif op == "*":
            a, b = r.randint(100, 499) if r.random() < 0.3 else r.randint(2, 99), r.randint(2, 9)
        else:
            b = r.randint(2, 9)
            a = b * r.randint(2, 99)
    elif op in "+-":
        a, b = r.randint(1, 30), r.randint(1, 20)
        a = a + b if op == "-" else a
    else:
        a, b = r.randint(1, 10), r.randint(2, 10)
        a = a * b if op == "/" else a
    answer = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[op]
    shape = r.random()
    if shape < 0.3:
        e = f"{a} {SPOKEN[op]} {b}"
    elif shape < 0.5 and op == "+":
        e = f"the sum of {a} and {b}"
    elif shape < 0.5 and op == "*":
        e = f"the product of {a} and {b}"
    elif shape < 0.5 and op == "-":
        e = f"the difference of {a} and {b}"
    elif shape < 0.65:
        e = f"{a}{op}{b}"
    elif shape < 0.75 and op == "*":
        e = f"{a} x {b}"
    else:
        e = f"{a} {op} {b}"
    question = r.choice(ASK).format(e=e)
    question = question[0].upper() + question[1:]
    return asked(
        "arithmetic", f"{a}{op}{b}" if thinking else f"{e} {question}", question, str(answer), STEPS[op](a, b) if thinking else ""
    )


def story_problem(r: Random, thinking: bool = True) -> Sample:
    name, other = r.sample(words.NAMES, 2)
    thing = words.plural(r.choice(words.THINGS))
    kind = r.randrange(8)
    a, b, c = r.randint(5, 60), r.randint(3, 40), r.randint(2, 9)
    if kind == 0:
        text = r.choice(
            (
                f"{name} has {a} {thing} and buys {b} more.",
                f"There are {a} {thing} on the table, and {name} adds {b}.",
                f"{name} owns {a} {thing}. {other} brings {b} more.",
            )
        )
        steps, total = [add_steps(a, b)], a + b
    elif kind == 1:
        a += b
        text = r.choice(
            (
                f"{name} has {a} {thing} and gives {b} of them to {other}.",
                f"Of {a} {thing}, {name} sells {b}.",
                f"{name} had {a} {thing} but lost {b}.",
            )
        )
        steps, total = [subtract_steps(a, b)], a - b
    elif kind == 2:
        text = r.choice(
            (
                f"{name} fills {a} boxes with {c} {thing} each.",
                f"There are {a} shelves with {c} {thing} on each.",
                f"{a} children bring {c} {thing} each.",
            )
        )
        steps, total = [multiply_steps(a, c)], a * c
    elif kind == 3:
        text = r.choice(
            (
                f"{name} has {a} {thing}, buys {b} more and then gives {c} to {other}.",
                f"A shop has {a} {thing}. It gets {b} more and sells {c}.",
            )
        )
        steps, total = [add_steps(a, b), subtract_steps(a + b, c)], a + b - c
    elif kind == 4:
        a = r.randint(3, 20)
        text = r.choice(
            (
                f"{name} buys {a} bags with {c} {thing} each and already had {b} {thing}.",
                f"{a} boxes hold {c} {thing} each, and {b} {thing} lie beside them.",
            )
        )
        steps, total = [multiply_steps(a, c), add_steps(a * c, b)], a * c + b
    elif kind == 5:
        total = r.randint(2, 30)
        text = r.choice(
            (
                f"{name} shares {total * c} {thing} equally among {c} friends.",
                f"{total * c} {thing} are put into {c} boxes, the same number in each.",
            )
        )
        steps = [divide_steps(total * c, c)]
    elif kind == 6:
        text = f"{name} has {a} {thing}. {other} has {b} more than {name}."
        steps, total = [add_steps(a, b), add_steps(a, a + b)], a + a + b
    else:
        text = f"{name} has {a} {thing}. {other} has {c} times as many."
        steps, total = [multiply_steps(a, c)], a * c
    if kind == 5:
        ask = r.choice(("How many does each get?", "How many are there for each?", "How many {t} is that for each?"))
    elif kind == 6:
        ask = r.choice(("How many {t} do they have together?", "How many {t} is that for both?"))
    elif kind == 7:
        ask = f"How many does {other} have?"
    else:
        ask = r.choice(
            (
                "How many {t} are there now?",
                "How many {t} is that?",
                "How many {t} are there in the end?",
                "What is the number of {t}?",
                "Count the {t}.",
            )
        )
    return asked("word problems", f"{kind} {a} {b} {c} {total}", f"{text} {ask.format(t=thing)}", str(total), " ".join(steps))


UNITS = (
    ("kilometers", "meters", 1000), ("meters", "centimeters", 100), ("kilograms", "grams", 1000), ("hours", "minutes", 60), ("minutes", "seconds", 60),
    ("days", "hours", 24), ("weeks", "days", 7), ("feet", "inches", 12), ("dozens", "pieces", 12), ("years", "months", 12), ("liters", "milliliters", 1000),
    ("centimeters", "millimeters", 10), ("tons", "kilograms", 1000), ("dollars", "cents", 100), ("yards", "feet", 3), ("pounds", "ounces", 16),
)  # fmt: skip
CONVERT = (
    "How many {v} are {n} {u}?", "Convert {n} {u} to {v}.", "{n} {u} in {v}?", "What is {n} {u} in {v}?", "Express {n} {u} in {v}.", "Change {n} {u} into {v}.",
    "Please convert {n} {u} into {v}.", "I have {n} {u}. How many {v} is that?", "Write {n} {u} as {v}.", "How many {v} make {n} {u}?", "Turn {n} {u} into {v}.",
)  # fmt: skip


def one(unit: str) -> str:
    return {"feet": "foot", "inches": "inch", "dozens": "dozen"}.get(unit, unit[:-1])


def unit_problem(r: Random, thinking: bool) -> Sample:
    big, small, factor = r.choice(UNITS if thinking else [u for u in UNITS if u[2] in (10, 100, 1000)])
    n = r.randint(2, 99) if factor in (10, 100, 1000) else r.randint(2, 30)
    known = f"1 {one(big)} is {factor} {small}. "
    if r.random() < 0.65:
        if factor in (10, 100, 1000):
            steps = f"{n} * {factor} = {n * factor}."
        elif factor % 10 == 0:
            steps = multiply_steps(n, factor // 10) + f" Times 10: {n * factor}."
        elif factor < 10:
            steps = multiply_steps(n, factor)
        else:
            tens, rest = factor // 10 * n * 10, factor % 10 * n
            steps = f"{n} * {factor // 10 * 10} = {tens}, {n} * {factor % 10} = {rest}. {add_steps(tens, rest)}"
        return asked(
            "units",
            f"{n} {big} {small}",
            r.choice(CONVERT).format(n=n, u=big, v=small),
            f"{n * factor} {small}",
            known + steps if thinking else "",
        )
    total = n * factor
    if factor in (10, 100, 1000):
        steps = f"{total} / {factor} = {n}."
    elif factor < 10:
        steps = divide_steps(total, factor)
    else:
        steps = f"{n} * {factor} = {total}. So {n}."
        n = min(n, 12)
        total = n * factor
        steps = ", ".join(f"{i} * {factor} = {i * factor}" for i in range(1, n + 1)) + f". So {n}."
    return asked(
        "units",
        f"{total} {small} {big}",
        r.choice(CONVERT).format(n=total, u=small, v=big),
        f"{n} {big}",
        known + steps if thinking else "",
    )
