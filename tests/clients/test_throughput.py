# label: slow
# What HTTP and SSE cost: tokens a second for each core that the server uses, engine and fake model included.
import os
import subprocess

import pytest
from stub_server import SANITIZED, StubServer

LOAD = os.path.join(os.environ.get("TEST_BIN", "."), "stream_load_probe")


def measure(*flags, connections=64, tokens=1000, seconds=4):
    with StubServer("--slots=64", *flags) as server:
        subprocess.run([LOAD, str(server.port), str(connections), "50", "0.2"], check=True)
        before = server.cpu_seconds()
        out = subprocess.run([LOAD, str(server.port), str(connections), str(tokens), str(seconds)],
                             check=True, capture_output=True, text=True).stdout.split()
        used = server.cpu_seconds() - before
    figures = dict(zip(out[::2], map(float, out[1::2])))
    made = figures["events"] - 2 * figures["requests"]  # the role and the finish are no tokens
    assert made == figures["requests"] * tokens
    print(f"{' '.join(flags)}: {made / figures['seconds']:,.0f} tokens/s, {made / used:,.0f} tokens/s per core")
    return made / used


@pytest.mark.skipif(SANITIZED, reason="a sanitized server is slow")
@pytest.mark.parametrize("flags", [(), ("--step-us=1000",)])
def test_fifty_thousand_tokens_a_second_for_a_core(flags):
    assert measure(*flags) >= 50_000
