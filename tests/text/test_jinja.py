"""Jinja against Python's jinja2; more of it by hand: jinja_diff.py --seed N --count 100000."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import jinja_diff

TEMPLATES = pathlib.Path(os.environ["TEST_SOURCE"]) / "tests" / "data" / "templates"


@pytest.fixture(scope="module")
def comparison():
    return jinja_diff.Comparison(jinja_diff.Probe(os.path.join(os.environ["TEST_BIN"], "jinja_probe")), show=5)


def test_generated_templates_render_as_in_jinja2(comparison):
    comparison.generated(seed=1, count=2000)
    assert comparison.failed == 0
    assert comparison.rendered > 700  # most of them are no mistakes


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_chat_templates_render_conversations_as_in_jinja2(comparison, path):
    before = comparison.rendered
    comparison.chat_template(path, seed=1, conversations=60)
    assert comparison.failed == 0
    assert comparison.rendered - before >= 20


def test_characters_have_the_case_and_class_that_python_gives_them(comparison):
    comparison.characters()
    assert comparison.failed == 0
