"""The report as one self-contained HTML page, with styles, scripts and numbers inline."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flockoff.report.data import page_data
from flockoff.report.facts import Facts
from flockoff.report.words import percent, reason_counts, spark, verdict_words
from flockoff.text import counted, duration, short_hotkey

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = (
    "common.js",
    "board.js",
    "page.js",
    "echarts/echarts.min.js",
    "frame.js",
    "epoch.js",
    "trends.js",
    "draw.js",
)
# Characters that would end a script element, or a line in old JavaScript.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


_SELF, _NONE = "'self'", "'none'"


def render_page(facts: Facts, *, version: str | None = None) -> str:
    """The page. ``version``: set if a dashboard serves it; changes when there is news."""
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            facts=facts,
            version=version,
            policy=content_policy(live=version is not None),
            style=Markup(static("page.css")),
            scripts=[Markup(static(name)) for name in _SCRIPTS],
            data=Markup(embedded(page_data(facts))),
        )
    )


def content_policy(
    *, live: bool, scripts: Sequence[str] = _SCRIPTS, styles: Sequence[str] = ("page.css",)
) -> str:
    """A page's Content-Security-Policy: its own styles and scripts, by their hashes, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(_hash(static(name)) for name in scripts)}",
            f"style-src {' '.join(_hash(static(name)) for name in styles)}",
            f"connect-src {_SELF if live else _NONE}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def embedded(value: Any) -> str:
    """``value`` as JSON that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return text


@cache
def static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def environment() -> Environment:
    """Renders the pages' templates: all text in them is escaped."""
    made = Environment(
        loader=FileSystemLoader(_STATIC),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "count": lambda number: f"{number:,}",
        "duration": duration,
        "counted": counted,
        "iso": lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"),
        "moment": lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC",
        "percent": percent,
        "short": short_hotkey,
        "spark": spark,
    }
    made.filters |= filters
    made.globals |= {"reason_counts": reason_counts, "verdict_words": verdict_words}
    return made
