#!/usr/bin/env python3
"""Checks that the house stands as docs/architecture.md says: its rooms, its arrows, its borders, its names.

Reads the arrow table in docs/architecture.md and every file under src/. Prints one line a finding as
`path:line: what (the rule)`, warnings after errors, and a closing count; exits 1 when there are errors.
Needs nothing beside Python's standard library.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
MAX_LINES = 700
MAX_README_LINES = 30

# Words that say nothing about what a file holds.
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "manager", "handler", "common", "misc", "impl", "info", "new", "v2", "fast"}
FORBIDDEN_FOLDERS = {"utils", "util", "common", "core", "third_party", "experimental", "helpers", "misc", "lib"}

JSON_HEADERS = re.compile(r"^(nlohmann/|simdjson)")
JSON_ROOMS = {"checkpoint", "text", "server", "cli"}
DEVICE_HEADERS = re.compile(r"^(cuda|cublas|cudnn|nccl|nvml|nvtx|curand|cooperative_groups|cub/|cute/|cutlass/|thrust/)")
DEVICE_ROOMS = {"device", "ops"}
POLICY_STEMS = {"scheduler", "page_table", "slot_table", "prefix_cache", "speculate"}
# inside ops/, for the code of its rows alone
PRIVATE_OPS = re.compile(r"^ops/(cuda/|.*\.cuh$|.*_(layout|simd|ref|rows)\.h$)")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
ROW_NAME = re.compile(r'\{\s*(?:\.name\s*=\s*)?"([A-Za-z0-9_]+)"\s*,\s*(?:\.arch\s*=\s*)?(?:ops::)?Arch::')
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


class Findings:
    def __init__(self, root: Path):
        self.root, self.errors, self.warnings = root, [], []

    def _line(self, path: Path, line: int, text: str) -> str:
        place = path.relative_to(self.root).as_posix()
        return f"{place}:{line}: {text}" if line else f"{place}: {text}"

    def error(self, path: Path, line: int, text: str) -> None:
        self.errors.append(self._line(path, line, text))

    def warn(self, path: Path, line: int, text: str) -> None:
        self.warnings.append(self._line(path, line, text))


def read_arrows(document: Path, findings: Findings) -> dict[str, set[str]]:
    """The table under the header `| room | may include |`: room -> the rooms it may include, itself among them."""
    lines = document.read_text(encoding="utf-8").splitlines()
    try:
        start = next(i for i, line in enumerate(lines) if re.match(r"^\|\s*room\s*\|\s*may include\s*\|", line))
    except StopIteration:
        findings.error(document, 0, "expected a table headed `| room | may include |`, found none")
        return {}
    arrows: dict[str, set[str]] = {}
    for number, line in enumerate(lines[start + 2 :], start + 3):
        if not line.startswith("|"):
            break
        room, targets = (cell.strip().strip("`") for cell in line.strip("|").split("|")[:2])
        arrows[room] = set() if targets in ("–", "-", "") else {"*"} if targets == "all" else set(targets.split())
        if unknown := {t for t in arrows[room] if t != "*"} - {r for r in arrows}:
            # A room may name only rooms above it in the table: that alone makes the table free of cycles.
            findings.error(document, number, f"{room} may include {', '.join(sorted(unknown))}, which stands below it or nowhere")
    for room, targets in arrows.items():
        arrows[room] = set(arrows) if "*" in targets else targets | {room}
    return arrows


def strip_comments(text: str) -> str:
    """The text with comments blanked, lines and strings kept."""
    pattern = re.compile(r'R"([^\s()\\]{0,16})\((?:.|\n)*?\)\1"|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)+\'|//[^\n]*|/\*(?:.|\n)*?\*/')
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0].startswith("/") else m[0], text)


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def includes(text: str):
    """(line, quoted path or None, bracketed path or None) of each include."""
    return [(line_of(text, m.start()), m[1], m[2]) for m in INCLUDE.finditer(text)]


def check_tree(source: Path, arrows: dict[str, set[str]], findings: Findings) -> None:
    found = {path.name for path in source.iterdir() if path.is_dir()}
    for extra in sorted(found - set(arrows)):
        findings.error(source / extra, 0, "a folder of src/ that the table of docs/architecture.md does not list as a room")
    for missing in sorted(set(arrows) - found):
        findings.error(source / missing, 0, "a room of the table of docs/architecture.md that src/ lacks")
    for stray in sorted(path for path in source.iterdir() if path.is_file()):
        findings.error(stray, 0, "a file outside every room")
    for room in sorted(found & set(arrows)):
        readme = source / room / "README.md"
        if not readme.exists():
            findings.error(readme, 0, f"a room needs a README of at most {MAX_README_LINES} lines, found none")
        elif (length := len(readme.read_text(encoding="utf-8").splitlines())) > MAX_README_LINES:
            findings.error(readme, 0, f"expected at most {MAX_README_LINES} lines, found {length}")
    for path in sorted(source.rglob("*")):
        if path.is_dir() and path.name in FORBIDDEN_FOLDERS:
            findings.error(path, 0, f"a folder named {path.name}: name it after what it holds")
        if path.is_file() and path.suffix not in SOURCE_SUFFIXES | {".md"}:
            findings.warn(path, 0, f"a file of kind {path.suffix or 'without suffix'} in src/")
        if path.is_file() and path.suffix in SOURCE_SUFFIXES:
            # x-inl.h is Highway's form of a header that is read once a target
            if not re.fullmatch(r"[a-z][a-z0-9_]*(-inl)?", path.stem):
                findings.error(path, 0, "expected a name in snake_case")
            if empty := EMPTY_WORDS & set(path.stem.split("_")):
                findings.error(path, 0, f"'{empty.pop()}' in a name says nothing: name the file after the noun it defines")
            if path.stem == "room" and len(list(path.parent.rglob("*.cpp"))) > 1:
                findings.error(path, 0, "the placeholder of an empty room, but the room has sources")


def check_text(path: Path, text: str, findings: Findings) -> None:
    if path.stem == "room":
        return
    # A source beside its header may leave the telling to it; a test is told by its cases.
    told = path.with_suffix(".h").exists() and path.suffix in (".cpp", ".cu")
    if not told and not path.stem.endswith("_test") and not text.lstrip().startswith("//"):
        findings.error(path, 1, "expected a comment at the head: what the file is, who owns it, which threads")
    if path.suffix in (".h", ".cuh") and not path.stem.endswith("-inl") and "#pragma once" not in text:
        findings.error(path, 1, "expected #pragma once")
    if (length := text.count("\n")) > MAX_LINES and not path.stem.endswith("_tables"):
        findings.warn(path, 0, f"{length} lines: over {MAX_LINES}, split it by noun")


def check_arrows(path: Path, room: str, graph: list, arrows: dict[str, set[str]], source: Path, findings: Findings) -> None:
    is_test = path.stem.endswith("_test")
    for line, quoted, bracketed in graph:
        if quoted is not None:
            target = quoted.split("/")[0]
            if target == "generated":
                continue
            if target not in arrows:
                findings.error(path, line, f'"{quoted}": expected a path that begins with a room')
            elif target not in arrows[room]:
                allowed = " ".join(sorted(arrows[room] - {room})) or "nothing"
                findings.error(path, line, f'"{quoted}": {room} may include {allowed}, not {target}')
            elif not (source / quoted).exists():
                findings.error(path, line, f'"{quoted}": no such file under src/')
            if room != "ops" and PRIVATE_OPS.match(quoted):
                findings.error(path, line, f'"{quoted}": belongs to the rows inside ops/')
        external = bracketed or ""
        if JSON_HEADERS.match(external) and room not in JSON_ROOMS and not is_test:
            findings.error(path, line, f"<{external}>: JSON stops at {', '.join(sorted(JSON_ROOMS))}")
        if DEVICE_HEADERS.match(external) and room not in DEVICE_ROOMS:
            findings.error(path, line, f"<{external}>: device headers stop at {', '.join(sorted(DEVICE_ROOMS))}")


def check_cycles(graph: dict[str, list], findings: Findings, source: Path) -> None:
    """Files that include each other, found by an iterative depth-first walk; each cycle once."""
    state: dict[str, int] = {}
    for root in sorted(graph):
        stack = [(root, iter([q for _, q, _ in graph[root] if q in graph]))]
        if state.setdefault(root, 0):
            continue
        state[root] = 1
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                stack.pop()
            elif state.get(following, 0) == 1:
                chain = [name for name, _ in stack]
                cycle = chain[chain.index(following) :] + [following]
                findings.error(source / node, 0, f"includes itself: {' -> '.join(cycle)}")
            elif state.get(following, 0) == 0:
                state[following] = 1
                stack.append((following, iter([q for _, q, _ in graph[following] if q in graph])))


def check_policy(graph: dict[str, list], findings: Findings, source: Path) -> None:
    """The engine's policy reaches no header of a device, an op or a model, however indirectly."""
    for name in sorted(graph):
        path = Path(name)
        if path.parts[0] != "engine" or path.stem not in POLICY_STEMS:
            continue
        came_from, todo = {name: None}, [name]
        while todo:
            node = todo.pop()
            for _, quoted, bracketed in graph.get(node, []):
                target = quoted or bracketed
                bad = quoted and quoted.split("/")[0] in ("device", "ops", "model", "checkpoint")
                if bad or (bracketed and DEVICE_HEADERS.match(bracketed)):
                    chain, step = [target], node
                    while step is not None:
                        chain.append(step)
                        step = came_from[step]
                    findings.error(source / name, 0, f"policy must run without a device, but reaches {' <- '.join(chain)}")
                elif quoted and quoted not in came_from:
                    came_from[quoted] = node
                    todo.append(quoted)


def check_row_names(texts: dict[Path, str], source: Path, findings: Findings) -> None:
    """Rows are named in the tables of ops/ and nowhere else. Short generic names (ref, simd) are no evidence."""
    rows = {
        name
        for path, text in texts.items()
        if path.relative_to(source).parts[0] == "ops"
        for name in ROW_NAME.findall(text)
        if "_" in name
    }
    for path, text in texts.items():
        if path.relative_to(source).parts[0] == "ops" or path.stem.endswith("_test"):
            continue
        for match in STRING.finditer(text):
            if match[1] in rows:
                findings.error(path, line_of(text, match.start()), f'"{match[1]}": row names stop inside ops/')


def check_glossary(document: Path, sources: list[Path], findings: Findings) -> None:
    """The noun of each header at the front of a room is explained; one of several words may stand there as words."""
    known = document.read_text(encoding="utf-8").lower()
    nouns = {p.stem for p in sources if p.suffix == ".h" and p.parent.parent.name == "src" and "-" not in p.stem}
    if missing := sorted(noun for noun in nouns if noun not in known and noun.replace("_", " ") not in known):
        findings.warn(document, 0, f"{len(missing)} nouns of headers are not explained: {' '.join(missing)}")


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    source, documents = root / "src", root / "docs"
    findings = Findings(root)
    arrows = read_arrows(documents / "architecture.md", findings)
    check_tree(source, arrows, findings)

    sources = sorted(p for p in source.rglob("*") if p.suffix in SOURCE_SUFFIXES and p.is_file())
    texts, graph = {}, {}
    for path in sources:
        text = path.read_text(encoding="utf-8")
        check_text(path, text, findings)
        texts[path] = strip_comments(text)
        name = path.relative_to(source).as_posix()
        graph[name] = includes(texts[path])
        if (room := name.split("/")[0]) in arrows:
            check_arrows(path, room, graph[name], arrows, source, findings)
    check_cycles(graph, findings, source)
    check_policy(graph, findings, source)
    check_row_names(texts, source, findings)
    if (documents / "glossary.md").exists():
        check_glossary(documents / "glossary.md", sources, findings)

    for text in findings.errors:
        print(text)
    for text in findings.warnings:
        print(f"warning: {text}")
    rooms = f"{len(arrows)} rooms, {len(sources)} files"
    print(f"house: {rooms}, {len(findings.errors)} errors, {len(findings.warnings)} warnings")
    return 1 if findings.errors else 0


if __name__ == "__main__":
    sys.exit(main())
