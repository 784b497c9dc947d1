"""The log page of a batch: every message once, found by level and text, and nothing that runs."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from batches.models import Batch
from files import storage
from tests.admin.pages import Page, read

MOST_QUERIES = 8


def address(batch: Batch) -> str:
    return f"/admin/batches/batch/{batch.pk}/log/"


def following(page: Page, here: str) -> str:
    (link,) = {urljoin(here, link) for link in page.links if "after=" in link}
    return link


def test_pages_show_every_message_once(support, logged):
    here, lines = address(logged), []
    for _ in range(2):
        page = read(support.get(here))
        lines += [text for text in page.text if text.startswith("line ")]
        here = following(page, here)
    last = read(support.get(here))
    lines += [text for text in last.text if text.startswith("line ")]
    assert lines == [f"line {i}" for i in range(450) if i != 300]
    assert not [link for link in last.links if "after=" in link]


def test_a_level_leaves_the_worse_ones_with_a_link_into_the_plot(support, logged):
    page = read(support.get(address(logged), {"level": "warning"}))
    assert "<script>alert(1)</script> lidar lost" in page.words
    assert "nav<b>" in page.words
    assert "2023-11-14 22:18:20.000" in page.words
    assert "line 1" not in page.words
    assert [link for link in page.links if link.endswith("#plot")] == [
        f"/admin/batches/batch/{logged.pk}/change/?from=1700000295000000000&to=1700000305000000000#plot"
    ]


def test_a_search_stays_in_the_form_and_on_the_next_page(support, logged):
    here = address(logged) + "?text=LINE&level=info"
    response = support.get(here)
    assert response.context["form"]["text"] == "LINE"
    after = following(read(response), here)
    assert "text=LINE" in after
    assert "level=info" in after
    assert read(support.get(after)).words.count("line ") == 200


def test_what_fits_nothing_says_what_to_do(support, logged, finished):
    assert "No log message fits" in read(support.get(address(logged), {"text": "unheard of"})).words
    storage.delete("results/x/1/messages.parquet")
    assert "cannot be read at the moment" in read(support.get(address(logged))).words


@pytest.mark.parametrize("query", [{"after": "x"}, {"level": "loud"}, {"from": "soon"}, {"to": "1e99"}, {"from": "9" * 30}])
def test_a_mangled_address_is_answered_with_the_form(support, logged, query):
    assert "use the form" in read(support.get(address(logged), query)).words


def test_a_batch_without_messages_says_so(support, finished):
    assert "hold no log messages" in read(support.get(address(finished))).words


def test_the_page_costs_a_bounded_number_of_queries(support, logged):
    support.get(address(logged))
    with CaptureQueriesContext(connection) as queries:
        support.get(address(logged))
    assert len(queries) <= MOST_QUERIES


def test_only_who_may_see_batches_sees_the_log(client, logged):
    assert client.get(address(logged)).status_code == 302
