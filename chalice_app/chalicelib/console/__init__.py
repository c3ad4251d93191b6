"""The console: one page, its style and its scripts in it, that asks the API beside it and nobody else."""

import base64
import hashlib
from functools import cache
from pathlib import Path

from chalice import Response

PARTS = Path(__file__).parent
SCRIPTS = ("dom", "api", "charts", "lists", "filters", "item", "person", "browse", "operation", "main")
"""In the order in which they stand in the page: each uses those before it."""

POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
)
"""Trusted types: the browser refuses whatever would read text as markup, whoever wrote it."""


def page() -> Response:
    """Return the page; it holds no data, so anybody may have it."""
    html, policy = _built()
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy,
    }
    return Response(html, headers)


@cache
def _built() -> tuple[str, str]:
    """Return the page and the policy that lets its own style and script through, by their hashes."""
    style = (PARTS / "style.css").read_text("utf-8")
    script = "\n".join((PARTS / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    html = (PARTS / "page.html").read_text("utf-8").replace("/* style */", style).replace("/* script */", script)
    return html, f"{POLICY}style-src {_hash(style)}; script-src {_hash(script)}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
