"""Reads pages as a browser would: what would run in them, where their links and forms lead."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """One parsed page: `active` is everything that would need `unsafe-inline`, or that no template of ours writes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.active: list[str] = []
        self.links: list[str] = []
        self.forms: list[str] = []
        self.text: list[str] = []
        self._script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.active += [f"{tag} {name}" for name, value in attrs if name.startswith("on") or name == "style"]
        self.active += [f"{tag} {name}={value}" for name, value in attrs if name in {"href", "src", "action"} and _runs(value)]
        if tag == "style" or (tag == "script" and not given.get("src")) or tag in {"iframe", "object", "embed", "base"}:
            self.active.append(tag)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag == "form":
            self.forms.append(str(given.get("action") or ""))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join(" ".join(self.text).split())


def _runs(address: str | None) -> bool:
    return (address or "").strip().lower().startswith(("javascript:", "data:", "vbscript:"))


def read(response: HttpResponse) -> Page:
    """The page of an answer, checked: delivered, under the strict policy, nothing inline."""
    assert response.status_code == 200, (response.status_code, response.request["PATH_INFO"])
    assert sorted(response["Content-Security-Policy"].split("; ")) == sorted(POLICY.split("; "))
    page = Page(response.content.decode())
    assert page.active == [], response.request["PATH_INFO"]
    return page


def logged_in(user: User, *, csrf: bool = False) -> Client:
    """A browser of this person; with `csrf` it checks the token as a server does."""
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(user)
    return client


def crawl(client: Client, start: str, most: int = 400) -> dict[str, Page]:
    """Every page that can be reached by links from `start`, each once per path and set of parameter names."""
    pages: dict[str, Page] = {}
    seen, waiting = set(), [start]
    while waiting and len(pages) < most:
        address = waiting.pop(0)
        parts = urlsplit(address)
        kind = (parts.path, tuple(sorted(pair.partition("=")[0] for pair in parts.query.split("&"))))
        if kind in seen or parts.netloc or not parts.path.startswith("/admin/") or "download" in parts.path or parts.path.endswith(".svg"):
            continue
        seen.add(kind)
        response = client.get(address)
        if response.status_code == 302:
            waiting.append(urljoin(address, response["Location"]))
            continue
        pages[address] = read(response)
        waiting += [urljoin(address, link) for link in pages[address].links]
    return pages
