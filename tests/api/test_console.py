"""The console in a browser: every view, by keyboard alone, with hostile text, refusals, and stores that are gone."""

import base64
import json
import os
import re
import sqlite3
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest
from api_client import path_of, user_path
from browser import chromium
from conftest import CHALICE_APP, ODD_IDS, fitted, opened_shop, server_over
from driven import driven

from recsys.serving.online.keys import ApiKey

EVIL = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>&amp;"
FIELDS = {"genre": "keyword", "tags": "keywords", "year": "number", "sale": "boolean", "since": "timestamp"}
SOME_IDS = ODD_IDS if os.environ.get("NIGHTLY") else ODD_IDS[::3]
VIEWS = ("user", "catalogue", "models", "service")
IDLE = "document.readyState === 'complete' && !document.querySelector('[aria-busy]')"
TABBED = (
    "[...document.querySelectorAll('a, button, input, select, summary, [tabindex]')]"
    ".filter((one) => one.tabIndex >= 0 && one.checkVisibility())"
)
AS_MARKUP = """Element.prototype.append = function (...all) {
  all.forEach((one) => typeof one === "string" ? this.insertAdjacentHTML("beforeend", one) : this.appendChild(one));
};"""
LOOK = Path(__file__).parents[1].joinpath("look.js").read_text("utf-8")

seen_in_browser = pytest.mark.skipif(chromium() is None, reason="no chromium to look at the page with")


def metadata(n):
    title, tags = EVIL if n == 2 else f"Title {n}", [EVIL] if n == 3 else ["a", "b"][: n % 3]
    more = {"year": 1990 + n, "sale": n % 4 == 0, "since": f"2026-01-{n % 28 + 1:02d}", EVIL: {"deep": [n]}}
    return {"title": title, "genre": "drama" if n % 2 else "war", "tags": tags} | more


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with driven(tmp_path_factory.mktemp("browser")) as page:
        yield page


@contextmanager
def served(template, folder, *keys):
    """Serve a shop whose items are described; the address of its console is the one the server told."""
    with opened_shop(template, folder / "stores") as shop:
        for n in (1, 2):
            shop.publish(fitted(n), metrics={"ndcg@10": 0.3 + n / 100, "ndcg@20": 0.4, "coverage@10": 0.9})
        shop.service.put_fields("shop", FIELDS)
        for n in range(30):
            shop.service.put_item("shop", f"i{n}", metadata(n))
        for key in keys:
            shop.online.keys.add(key)
        with server_over(shop, folder / "server.log") as wire:
            wire.shop = shop
            yield wire


@pytest.fixture(scope="module")
def desk(template, tmp_path_factory):
    with served(template, tmp_path_factory.mktemp("console")) as wire:
        yield wire


def fragment(user, view, namespace):
    return f"#ns={quote(namespace)}&user={quote(user, safe='')}&view={view}"


class Console:
    """The page as a person has it before them."""

    def __init__(self, page, server):
        self.page, self.server = page, server
        self.told, self.press = page.told, page.press

    def open(self, user="u1", view="user", namespace="shop", width=1280, scheme="light"):
        self.page.shape(width, scheme=scheme)
        self.page.open(self.server.console + fragment(user, view, namespace))
        self.wait()

    def go(self, user, view="user", namespace="shop"):
        """Follow a link to another place of the page."""
        self.told(f"location.hash = {json.dumps(fragment(user, view, namespace))}")
        self.page.until(f"{IDLE} && document.forms[0].elements.user.value === {json.dumps(user)}")

    def wait(self):
        self.page.until(IDLE)

    def items(self, panel="list"):
        return self.told(f"[...document.querySelectorAll('#{panel} .row')].map((one) => one.dataset.item)")

    def choose(self, item):
        """Click on an item of the list."""
        found = f"[...document.querySelectorAll('#list .row')].find((one) => one.dataset.item === {json.dumps(item)})"
        self.told(f"{found}.click()")
        self.wait()

    def text(self, place):
        return self.told(f"document.querySelector('{place}').innerText")

    def focused(self):
        return self.told("document.activeElement.id || document.activeElement.innerText || document.activeElement.name")

    def to(self, place):
        """Go on by Tab until something has the focus."""
        for _ in range(60):
            if self.told(f"document.activeElement.matches('{place}')"):
                return
            self.press("Tab")
        raise AssertionError((place, self.focused()))

    def restyle(self, rules):
        """Put rules over those of the page."""
        self.told("document.adoptedStyleSheets = [new CSSStyleSheet()]")
        self.told(f"document.adoptedStyleSheets[0].replaceSync({json.dumps(rules)})")

    def faults(self):
        """What was complained about, and who else was asked."""
        elsewhere = [
            url
            for _, url in self.page.requested
            if not url.startswith((self.server.console.removesuffix("console"), "data:"))
        ]
        return self.page.written + elsewhere


@pytest.fixture
def console(browser, desk):
    console = Console(browser, desk)
    yield console
    browser.plant("")


def test_the_page_is_one_answer_that_needs_nothing_else(server):
    answer = server.get("/console")
    text, policy = answer.body.decode(), answer.headers["content-security-policy"]
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for kind in ("style", "script"):
        (inline,) = re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", text, re.DOTALL)
        assert f"{kind}-src 'sha256-{base64.b64encode(sha256(inline.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    own = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|\bsrc=|@import|url\(|innerHTML|insertAdjacent|document\.write", own)
    assert max(len(one.read_text().splitlines()) for one in (CHALICE_APP / "chalicelib/console").glob("*.*")) < 400


@seen_in_browser
def test_a_user_is_looked_at_by_keyboard_alone(console):
    console.page.shape(1280)
    console.page.open(console.server.console)
    console.press("Tab", "Tab", "shop", "Tab", "u1", "Enter")
    console.page.until(f"{IDLE} && document.querySelectorAll('#list .row').length")
    assert console.items() == [one for one, _ in console.server.get(user_path("u1") + "?k=20").items]
    console.to("#list .row")
    console.press("ArrowDown", "ArrowDown", "ArrowUp", "End", "Home", "ArrowDown", "Enter")
    console.wait()
    chosen = console.items()[1]
    assert console.text("#item-id") == chosen
    assert console.focused() == "h-item"
    assert console.text("#why li .number").startswith("+")
    assert console.items("similar")[:5] == [
        one for one, _ in console.server.get(f"/v1/shop/items/{quote(chosen, safe='')}/similar?k=5").items
    ]
    console.press("Escape")
    assert console.told("document.getElementById('item').hidden")
    assert console.told("document.activeElement.dataset.item") == chosen
    console.press("Enter")
    console.to("#viewed")
    assert "Writes an event of u1" in console.text("#writes")
    console.press("Enter")
    console.page.until(f"{IDLE} && document.querySelector('#writes-note').innerText.includes('new in the list')")
    assert chosen not in console.items()
    assert console.items("history")[0] == chosen
    assert "fold_in" in console.text("#list .facts")
    assert console.told("document.querySelectorAll('#list .fresh').length") >= 1
    for view in VIEWS[1:]:
        console.to("[role=tab][aria-selected=true]")
        console.press("ArrowRight", "Enter")
        console.wait()
        assert console.told("location.hash").endswith(f"view={view}")
    assert not console.faults()


@seen_in_browser
def test_what_filters_say_is_what_the_api_is_asked(console):
    console.open("u2")
    console.to("summary")
    console.press("Enter", "Tab", "war", "Enter", "Tab", "Tab", "1995", "Tab", "2015", "Tab", "ArrowDown")
    console.to("#filter-form .main")
    console.press("Enter")
    console.wait()
    must = [{"any": {"genre": ["war"]}}, {"range": {"year": {"gte": 1995, "lte": 2015}}}, {"match": {"sale": True}}]
    asked = console.server.ask(user_path("u2"), {"k": 20, "filter": {"must": must}})
    assert console.items() == [one for one, _ in asked.items]
    assert len(console.items()) in range(1, 6)
    assert console.text("#filters-count") == "3"
    console.press("Tab", "Enter")
    console.wait()
    assert len(console.items()) == 20
    assert not console.faults()


@seen_in_browser
def test_text_of_others_stays_text(console):
    console.open("u1")
    for user in (EVIL, *(one for one in SOME_IDS if "\n" not in one)):  # which no field of one line takes
        console.go(user)
        if user in (".", ".."):
            assert "by other means" in console.text("#list")
            continue
        asked = console.server.get(user_path(user) + "?k=20").items
        assert console.items() == [one for one, _ in asked], user
    console.go("stranger")
    while console.told("Boolean(document.querySelector('#list .more'))"):
        console.told("document.querySelector('#list .more').click()")
        console.wait()
    assert console.items() == [one for one, _ in console.server.get(user_path("stranger") + "?k=500").items]
    for item in ("i2", "i3", *SOME_IDS):
        console.choose(item)
        if item in (".", ".."):
            assert "by other means" in console.text("#similar")
            continue
        assert console.told("document.getElementById('item-id').textContent") == item
        asked = console.server.get(path_of("v1", "shop", "items", item, "similar") + "?k=10").items
        assert console.items("similar") == [one for one, _ in asked], item
    console.choose("i2")
    assert console.text("#h-item") == EVIL
    assert EVIL in console.text("#metadata dt:last-of-type")
    assert not console.faults()
    assert console.told("document.title") == "recsys console"


@seen_in_browser
def test_what_is_planted_is_found(console):
    lists = ((f"u{n}", console.server.get(user_path(f"u{n}") + "?k=20").items) for n in range(60))
    user = next(user for user, items in lists if "i2" in dict(items))
    for fault in ("console.log(1)", "fetch('http://127.0.0.1:9/').catch(() => 0)", AS_MARKUP):
        console.page.plant(fault)
        console.open(user)
        assert console.faults(), fault
    console.page.bypass_policy(True)
    console.open(user)
    console.page.until("document.title === 'taken'")
    console.page.bypass_policy(False)
    console.page.plant("globalThis.encodeURIComponent = encodeURI")
    console.open("a/b")
    assert console.items() != [one for one, _ in console.server.get(user_path("a/b") + "?k=20").items]


@seen_in_browser
def test_every_control_is_reached_and_left_by_tab(console):
    console.open("u3")
    for view in VIEWS:
        console.told(f"document.getElementById('tab-{view}').click()")
        console.wait()
        assert not stuck(console), view
    console.page.plant(
        "addEventListener('keydown', (event) => event.target.matches('[role=tab]') && event.preventDefault())"
    )
    console.open("u3")
    assert stuck(console)
    console.page.plant("")
    console.open("u3")
    console.restyle("button { outline: none !important }")
    assert stuck(console)


SEEN = (
    "getComputedStyle(document.activeElement).outlineStyle === 'none' || window.reached.add(document.activeElement), 0"
)


def stuck(console):
    """Return what Tab does not come to on its way round the page, or where the focus is not to be seen."""
    console.told("document.activeElement.blur(), window.reached = new Set()")
    count = console.told(f"({TABBED}).length")
    for _ in range(count + 1):
        console.press("Tab")
        console.told(SEEN)
    return console.told(f"({TABBED}).filter((one) => !window.reached.has(one)).map((one) => one.outerHTML)")


@seen_in_browser
def test_below_the_path_of_a_stage_it_asks_below_that_path(console):
    for place in ("/console/", "/dev/console"):
        console.page.plant(f"try {{ history.replaceState(null, '', '{place}' + location.hash) }} catch {{ }}")
        console.open("u1")
        (asked,) = {url.partition("/v1/")[0].partition("://")[2] for _, url in console.page.requested if "/v1/" in url}
        assert asked.partition("/")[2] == place.strip("/").removesuffix("console").strip("/")


@seen_in_browser
def test_on_a_phone_the_item_does_not_hide_what_has_the_focus(console):
    for width, is_gone in ((390, True), (1280, False)):
        console.open("u1", width=width)
        console.choose(console.items()[0])
        console.told("document.querySelector('#list .row').focus()")
        assert console.told("document.getElementById('item').hidden") is is_gone


@seen_in_browser
def test_it_is_readable_on_a_phone_and_on_a_desk_by_day_and_by_night(console):
    for view in VIEWS:
        console.open("u4", view)
        console.told("document.querySelector('#filters').open = true")
        if view == "user":
            console.choose(console.items()[1])
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                console.page.shape(width, scheme=scheme)
                assert not console.told(LOOK), (width, scheme, view)
    for fault, style in {
        "too wide": "main { min-width: 1400px }",
        "contrast": "h2 { color: #666 }",
        "small text": "h2 { font-size: 9px }",
        "target": "button { min-height: 20px; line-height: 1 }",
        "outside": "h2 { position: relative; left: -99px }",
        "cut": "text { transform: translateX(-40px) }",
    }.items():
        console.restyle(style)
        assert any(fault in one for one in console.told(LOOK)), fault


@seen_in_browser
def test_refusals_say_what_to_do_and_a_lost_store_is_told(browser, template, tmp_path):
    secret = "5" * 64
    key = ApiKey("0" * 12, sha256(secret.encode()).hexdigest(), ("read", "admin"), ("shop",))
    with served(template, tmp_path, key) as server:
        console = Console(browser, server)
        console.open("u1")
        told = ["401 Unauthorized", "Type an API key"]
        for key, shown in {"": told, "wrong": told, "ключ": ["No answer", "the key is no header"]}.items():
            type_key(console, key)
            assert all(one in console.text("#trouble") for one in shown), key
            assert not console.items()
        type_key(console, f"rs_{'0' * 12}_{secret}")
        assert len(console.items()) == 20
        assert secret not in console.told("location.href + document.documentElement.outerHTML")
        console.choose(console.items()[0])
        console.told("document.getElementById('viewed').click()")
        console.wait()
        assert "403 Forbidden" in console.text("#writes-note")
        assert "right scope" in console.text("#writes-note")
        console.open("u1", namespace="films")  # in the same tab, which kept the key
        assert "404 Not Found" in console.text("#trouble")
        assert "(ns)" in console.text("#trouble")
        console.open("u1", namespace=EVIL)
        assert "404 Not Found" in console.text("#trouble")
        assert console.told("document.title") == "recsys console"
        console.open("u1")
        with closing(sqlite3.connect(server.shop.folder / "online.db")) as db:
            for table in ("users", "events"):
                db.executescript(f"DROP TABLE {table}; CREATE TABLE {table} (empty)")
        console.go("u2")
        assert "degraded" in console.text("#list .facts")
        assert len(console.items()) == 20
        assert "503 Service Unavailable" in console.text("#history")
    console.told("document.forms[0].requestSubmit()")
    console.wait()
    assert "cannot be reached" in console.text("#trouble")


def type_key(console, key):
    console.told("document.forms[0].elements.key.focus(), document.forms[0].elements.key.select()")
    console.press(*([key] if key else []), "Enter")
    console.wait()
