#!/usr/bin/env python3
"""Compares nibble's Jinja with Python's jinja2 in Hugging Face's settings: generated templates, and the chat templates
of tests/data/templates on generated conversations. Where jinja2 raises, nibble must fail, and the other way round.

    jinja_diff.py --probe BUILD/tests/jinja_probe [--seed 1] [--count 4000] [--templates FOLDER]
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import unicodedata
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import hugging_face_jinja
import jinja_conversations
import jinja_generator

# What Python prints of functions and generators holds addresses; integers over 64 bits are outside nibble's Values;
# jinja2 has no limits; and what it folds at compile time, it slices without an error ((2.0)[1:] is undefined).
ADDRESS = re.compile(r"( at 0x|object sync_do|<built-in method)", re.IGNORECASE)
BEYOND = re.compile(r"cannot be sliced|64 bits|over the limit|more than \d+ (steps|bytes)|not supported|fractional power|nested (over|too)")


class Probe:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request):
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise SystemExit(f"the probe ended (status {self.process.wait()}) on:\n{json.dumps(request)}")


class Comparison:
    def __init__(self, probe, show, verbose=False):
        self.probe, self.show, self.verbose = probe, show, verbose
        self.env = hugging_face_jinja.environment()
        warnings.simplefilter("ignore")  # of the Python that jinja2 writes
        self.passed = self.failed = self.skipped = self.rendered = 0

    def check(self, source, context, what):
        expected, error = hugging_face_jinja.render(self.env, source, context)
        answer = self.probe.ask({"template": source, "context": context})
        found = answer.get("text")
        if expected is not None:
            try:
                expected.encode()
            except UnicodeEncodeError:
                self.skipped += 1
                return
        if expected is not None and found is not None and ADDRESS.search(expected):
            self.skipped += 1
        elif expected is not None and found is None and BEYOND.search(answer["error"]):
            self.skipped += 1
            if self.verbose:
                print("skipped:", answer["error"])
        elif expected == found:
            self.passed += 1
            self.rendered += found is not None
        else:
            self.failed += 1
            if self.failed <= self.show:
                print(f"--- {what}\n{source!r}")
                if self.verbose:
                    print("context", json.dumps(context, ensure_ascii=False))
                print(f"jinja2: {expected!r}" if error is None else f"jinja2 raises {type(error).__name__}: {error}")
                print(f"nibble: {found!r}" if found is not None else f"nibble fails: {answer['error']}")

    def generated(self, seed, count):
        for i in range(count):
            rng = random.Random(f"{seed}/{i}")
            source = jinja_generator.template(rng)
            if i % 5 == 4:
                source = jinja_generator.damaged(rng, source)
            self.check(source, jinja_generator.context(rng), f"seed {seed}, template {i}")

    def chat_template(self, path, seed, conversations):
        source = path.read_text()
        rendered, passed = self.rendered, self.passed
        for i in range(conversations):
            context = jinja_conversations.context(random.Random(f"{seed}/{i}"))
            self.check(source, context, f"{path.name}, seed {seed}, conversation {i}")
        rendered, passed = self.rendered - rendered, self.passed - passed
        print(f"{path.name}: {rendered} rendered alike, {passed - rendered} refused by both")

    def characters(self):
        """Every character of Unicode 3.2, whose properties no later version changes, through what depends on case and class."""
        source = "".join("{{ s|%s }}" % f for f in ("upper", "lower", "title", "capitalize", "tojson")) + "{{ [s] }}{{ s.swapcase() }}{{ s.split() }}"
        source += "{% for c in s %}" + "".join("{{ 1 if c.%s() else 0 }}" % m for m in (
            "isalpha", "isdigit", "isdecimal", "isnumeric", "isspace", "islower", "isupper", "istitle", "isprintable", "isalnum")) + "{% endfor %}"
        for first in range(0, 0x110000, 512):
            text = "".join(chr(c) for c in range(first, first + 512) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cs", "Cn"))
            if text:
                self.check(source, {"s": text}, f"characters from U+{first:04X}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--probe", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--conversations", type=int, default=200, help="for each chat template")
    parser.add_argument("--show", type=int, default=5)
    parser.add_argument("--verbose", action="store_true", help="show the contexts too")
    parser.add_argument("--templates", default=str(pathlib.Path(__file__).parents[1] / "data" / "templates"))
    options = parser.parse_args()
    comparison = Comparison(Probe(options.probe), options.show, options.verbose)
    comparison.generated(options.seed, options.count)
    for path in sorted(pathlib.Path(options.templates).glob("*.jinja")):
        comparison.chat_template(path, options.seed, options.conversations)
    if options.count:
        comparison.characters()
    print(f"{comparison.rendered} rendered alike, {comparison.passed - comparison.rendered} refused by both, {comparison.skipped} skipped")
    print(f"{comparison.passed} passed, {comparison.failed} failed")
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
