"""loss.csv as a picture: the loss over trained tokens, logarithmic, of answers and of the draft block."""

from __future__ import annotations

import csv
import math
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 56, 16, 36, 44
LINES = (
    ("answer_loss", "#1f6feb", "answers"),
    ("draft_answer_loss", "#d29922", "draft of the token after"),
    ("loss", "#8b949e", "all tokens, weighted"),
)


def draw(source: Path, target: Path) -> None:
    with source.open(encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    if len(rows) < 2:
        return
    values = [max(row[name], 1e-4) for row in rows for name, _, _ in LINES]
    low, high = math.floor(10 * math.log10(min(values))) / 10, math.ceil(10 * math.log10(max(values))) / 10
    most = max(row["tokens"] for row in rows)

    def x(tokens: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * tokens / most

    def y(loss: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(max(loss, 1e-4))) / max(high - low, 1e-9)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for mark in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5):
        if low <= math.log10(mark) <= high:
            parts.append(
                f'<path d="M{LEFT} {y(mark):.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/><text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>'
            )
    for i in range(6):
        parts.append(
            f'<text x="{x(most * i / 5):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{most * i / 5 / 1e6:.0f}</text>'
        )
    parts.append(
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">million tokens</text><text x="{LEFT}" y="18">nats a token</text>'
    )
    for i, (name, color, label) in enumerate(LINES):
        points = " ".join(f"{x(row['tokens']):.1f},{y(row[name]):.1f}" for row in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append(f'<text x="{LEFT + 120 + 170 * i}" y="18" fill="{color}">{label}</text>')
    target.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
