#!/usr/bin/env python3
"""Checks what a compiler does not: banned constructs in C++, links in documents, large files, strays.

Looks at the files that git tracks or would track. Prints one line a finding as `path:line: what`, and a closing count;
exits 1 when there is any. Needs nothing beside Python's standard library and git.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from check_house import STRING, line_of, strip_comments  # noqa: E402

MAX_BYTES = 10 << 20

# rule: (pattern, what to do instead, files of src/ that may)
BANNED = {
    "std::regex": (r"\bstd::w?regex\b|#\s*include\s*<regex>", "it recurses once a character: PCRE2 or a hand-written scanner", ()),
    "alloca": (r"\balloca\s*\(", "a container, or the arena", ()),
    "unchecked number parsing": (
        r"\b(?:std::)?(?:strto(?:u?ll?|u?l|f|d|ld|imax|umax)|ato(?:i|l|ll|f)|sscanf|sto(?:i|l|ll|ul|ull|f|d|ld))\s*\(",
        "std::from_chars, whose result is checked",
        (),
    ),
    "unbounded string functions": (r"\b(?:std::)?(?:sprintf|vsprintf|strcpy|strcat|gets|strtok)\s*\(", "fmt, std::string", ()),
    "getenv": (
        r"\b(?:std::)?(?:secure_)?getenv\s*\(|\benviron\b",
        "a flag: only these read the environment",
        ("src/cli/environment.cpp", "src/checkpoint/hub.cpp", "src/checkpoint/model_folder.cpp"),
    ),
    "throw": (r"\bthrow\b", "Result<T> or CHECK", ()),
    "a shell": (r"\b(?:std::)?(?:system|popen|execl[pe]?|execv[pe]?)\s*\(", "nothing: no other program is started", ()),
    "using namespace std": (r"\busing\s+namespace\s+std\s*;", "the names that are meant", ()),
    "__CUDA_ARCH__": (r"__CUDA_ARCH__", "the file's suffix (src/ops/cuda/ alone may look)", ("src/ops/cuda/",)),
    "rand": (r"\b(?:std::)?s?rand\s*\(", "numeric/philox.h", ()),
}

# Places that only exist on one person's machine.
STRAY_PATHS = re.compile(r"(?<![\w./~-])/(?:work|opt/[\w-]+|home/\w+|root)/[\w.-]+")


def tracked(root: Path) -> list[Path]:
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True
    )
    return [path for name in listing.stdout.decode().split("\0") if name and (path := root / name).is_file()]


def check_cpp(path: Path, name: str, text: str):
    code = STRING.sub(lambda m: '"' + " " * len(m[1]) + '"', strip_comments(text))
    for rule, (pattern, instead, allowed) in BANNED.items():
        if any(name == a or (a.endswith("/") and name.startswith(a)) for a in allowed):
            continue
        if rule == "getenv" and path.stem.endswith("_test"):  # tests set it for what they test
            continue
        for match in re.finditer(pattern, code):
            yield line_of(code, match.start()), f"{rule} is banned in src/. Use {instead}"


def anchors(text: str) -> set[str]:
    found: set[str] = set()
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if not fenced and (heading := re.match(r"#{1,6}\s+(.*?)\s*#*$", line)):
            slug = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()).replace(" ", "-")
            unique, count = slug, 0
            while unique in found:
                count += 1
                unique = f"{slug}-{count}"
            found.add(unique)
    return found


def check_links(path: Path, text: str, root: Path):
    code = re.sub(r"```.*?```|`[^`\n]*`", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL)
    for match in re.finditer(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", code):
        link = match[1]
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists():
            yield line_of(code, match.start()), f"link to {link}: no such file"
        elif root not in file.parents and file != root:
            yield line_of(code, match.start()), f"link to {link}: outside the repository"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
            yield line_of(code, match.start()), f"link to {link}: no such heading"


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    findings: list[str] = []
    files = tracked(root)
    for path in files:
        name = path.relative_to(root).as_posix()

        def found(line: int, what: str) -> None:
            findings.append(f"{name}:{line}: {what}")

        if (size := path.stat().st_size) > MAX_BYTES:
            found(0, f"{size / 2**20:.1f} MiB: files over {MAX_BYTES >> 20} MiB are made, not committed")
            continue
        raw = path.read_bytes()
        if b"\0" in raw[:8192]:
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            if "/corpus/" not in f"/{name}":
                found(0, "expected UTF-8")
            continue
        if re.search(r"^(?:<<<<<<< |>>>>>>> )", text, re.MULTILINE):
            found(0, "a conflict marker")
        if name.startswith("src/") and path.suffix in (".h", ".cpp", ".cu", ".cuh"):
            for line, what in check_cpp(path, name, text):
                found(line, what)
        if path.suffix == ".md":
            for line, what in check_links(path, text, root):
                found(line, what)
        if path.suffix == ".py":
            try:
                ast.parse(text, str(path))
            except SyntaxError as error:
                found(error.lineno or 0, f"Python does not parse: {error.msg}")
        if not name.startswith("tests/"):
            for match in STRAY_PATHS.finditer(text):
                found(line_of(text, match.start()), f"{match[0]}: a path of somebody's machine")
    for line in findings:
        print(line)
    print(f"source: {len(files)} files, {len(findings)} errors")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
