"""Looks at a page in headless chromium, as wide as a phone and as a desk."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

WIDTHS = (390, 1280)
# In pixels: by how much a page is too wide, the smallest text of its drawings, and texts that leave their drawing.
MEASURE = """
onload = () => {
  const told = [...document.querySelectorAll('iframe')].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const drawings = [...page.querySelectorAll('svg')];
    const texts = drawings.flatMap(one => [...one.querySelectorAll('text')].map(text => {
      const all = one.getBoundingClientRect(), box = text.getBoundingClientRect();
      const size = parseFloat(frame.contentWindow.getComputedStyle(text).fontSize);
      return {
        size: size * all.width / one.viewBox.baseVal.width,
        inside: box.left >= all.left - 1 && box.right <= all.right + 1
          && box.top >= all.top - 1 && box.bottom <= all.bottom + 1,
        text: text.textContent,
      };
    }));
    return {
      width: root.clientWidth, overflow: root.scrollWidth - root.clientWidth, drawings: drawings.length,
      smallest: Math.min(...texts.map(one => one.size)),
      cut: texts.filter(one => !one.inside).map(one => one.text), texts: texts.map(one => one.text),
    };
  });
  const written = document.createElement('pre');
  written.id = 'told';
  written.textContent = JSON.stringify(told);
  document.body.replaceChildren(written);
};
"""


def chromium():
    """Path of the browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def look(page, folder):
    """Return, for each width, what `MEASURE` says of a page, and all that is written to the console."""
    frames = "".join(
        f'<iframe style="width:{w}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>' for w in WIDTHS
    )
    whole = Path(folder, "page.html")
    whole.write_text(f"<!doctype html><meta charset=utf-8><script>{MEASURE}</script><body>{frames}", "utf-8")
    arguments = [
        chromium(), "--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update", "--enable-logging=stderr", f"--user-data-dir={folder}/profile", "--dump-dom",
        *(["--no-sandbox"] if os.geteuid() == 0 else []), whole.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    told = re.search(r'<pre id="told">([^<]*)</pre>', done.stdout)
    assert told, done.stderr
    return json.loads(html.unescape(told[1])), re.findall(r":CONSOLE.*", done.stderr)
