"""The table of refusals: what a code says is the same everywhere, and its page shows all of it."""

import re
from pathlib import Path

import pytest

from understudy.gateway import refusals
from understudy.gateway.http import HttpError, error_response, refused
from understudy.gateway.refusals import REFUSALS, Refusal

ROOT = Path(__file__).parent.parent
OWN = {1001, 1009, 1011, 1012, 1013}
"""Close codes that WebSocket has for the same."""


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=lambda refusal: refusal.code)
def test_a_refusal_says_the_same_as_reply_status_and_close(refusal: Refusal) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", refusal.code)
    assert 400 <= refusal.status < 600
    assert refusal.close in OWN or refusal.close in (range(4000, 4500) if refusal.retry else range(4500, 5000))
    said = {"reason": refusal.reason, "code": refusal.code, "retry": refusal.retry}
    assert refusals.reply(refusal.reason) == said
    assert refused(refusal.code).retry == refusal.retry
    code, reason = refusals.close(refusal.code, "\u00fc" * 200)
    assert (code, len(reason.encode()) <= 123) == (refusal.close, True)


def test_a_rooms_own_reason_has_a_code_too_and_that_of_a_route_of_ones_own_goes_by_its_status() -> None:
    assert refusals.reply("we only have tea") == {"reason": "we only have tea", "code": "refused", "retry": False}
    assert [HttpError(status, "taken", "").retry for status in (409, 429, 503)] == [False, True, True]
    assert error_response(HttpError(429, "taken", "", retry_after=3)).headers["Retry-After"] == "3"


def test_the_page_of_refusals_shows_the_table() -> None:
    page = (ROOT / "docs" / "refusals.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (yes|no) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [
        (r.code, str(r.status), str(r.close), "yes" if r.retry else "no", r.sentence) for r in REFUSALS.values()
    ]
