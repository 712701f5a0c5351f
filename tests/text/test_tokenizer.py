"""The tokenizer against the Python package `tokenizers`: a short run of tokenizer_diff.py."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")


def test_agrees_with_the_python_package():
    probe = Path(os.environ["TEST_BIN"]) / "tokenizer_probe"
    script = Path(__file__).with_name("tokenizer_diff.py")
    done = subprocess.run([sys.executable, script, probe, "--seed", "1", "--count", "60"], stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, "\n".join(line[:400] for line in lines if not line.endswith(" 0 differ"))
    assert lines[-1].endswith(" passed, 0 failed")
