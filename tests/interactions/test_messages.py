"""What people read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from places import REPOSITORY
from shopware_pipelines.interactions.alert_queries import Details
from shopware_pipelines.interactions.alerts import BLIND, DATA_BACK, FOLLOW_UP, HOUR, NEGATIVE, NO_DATA, Message
from shopware_pipelines.interactions.messages import Written, folded, write

AT = datetime(2026, 1, 31, 23, tzinfo=UTC)
DETAILS = Details((("email", 8), ("web", 6)), (("Complaint", 14),), ((1, "It broke\n\non day <one> & I cried"),))
KINDS = (NEGATIVE, FOLLOW_UP, NO_DATA, DATA_BACK, BLIND)


def message(kind: str = NEGATIVE, **facts: Any) -> Message:
    given: dict[str, Any] = {"negatives": 14, "interactions": 90, "usual": 2.8, "usual_hours": 24, "gathered": {AT: 3}}
    return Message(f"{kind}/x", kind, AT, AT + HOUR, **given | facts)


def written(kind: str = NEGATIVE, details: Details | None = DETAILS, **facts: Any) -> Written:
    return write(message(kind, **facts), details, "shopware_db", "crm_data_unique")


def test_a_negative_hour_says_how_many_where_how_usual_and_what_they_wrote() -> None:
    assert written(gathered={AT - 3 * HOUR: 2}).text == (
        "14 of 90 customer interactions 2026-01-31 23:00-00:00 UTC were negative (rating 2 or less).\n"
        "In the 24 hours before there were 2.8 an hour: 5.0 times.\n"
        "\n"
        "Channels: email 8, web 6\n"
        "Types: Complaint 14\n"
        "\n"
        "rated 1: It broke on day <one> & I cried\n"
        "\n"
        "Late negative ones of hours alerted before:\n"
        "  2026-01-31 20:00-21:00 UTC: 2\n"
        "\n"
        "See them in Athena:\n"
        "SELECT * FROM shopware_db.crm_data_unique "
        "WHERE year = 2026 AND month = 1 AND day = 31 AND hour = 23 AND rating <= 2"
    )


def test_an_sms_says_the_same_in_one() -> None:
    assert written().sms == ("14 negative customer interactions 2026-01-31 23:00-00:00 UTC of 90. email 8, web 6")


def test_slack_gets_a_custom_notification_with_its_signs_escaped() -> None:
    found = json.loads(written().slack)

    assert (found["version"], found["source"], found["content"]["textType"]) == ("1.0", "custom", "client-markdown")
    assert found["content"]["title"] == "14 negative customer interactions 2026-01-31 23:00-00:00 UTC"
    assert "day &lt;one&gt; &amp; I cried" in found["content"]["description"]


@pytest.mark.parametrize(
    ("usual", "hours", "said"),
    [
        (None, 0, "There are no hours before to compare with."),
        (0.0, 24, "In the 24 hours before there were none."),
        (7.0, 1, "In the hour before there were 7.0 an hour: 2.0 times."),
    ],
)
def test_a_trend_needs_something_to_compare_with(usual: float | None, hours: int, said: str) -> None:
    assert said in written(usual=usual, usual_hours=hours).text


def test_no_data_is_not_good_news() -> None:
    found = written(NO_DATA, details=None)

    assert found.subject == "No customer interactions at all 2026-01-31 23:00-00:00 UTC"
    assert "nothing arrived" in found.text


def test_a_page_that_is_named_exists() -> None:
    for kind in (NO_DATA, BLIND):
        named = re.search(r"(docs/\w+\.md), ([A-Z][\w ]+)\.", written(kind, details=None).text)
        assert named
        assert f"## {named[2]}" in (REPOSITORY / named[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_every_form_fits_whatever_customers_write(kind: str, data: st.DataObject) -> None:
    texts = st.text(max_size=400)
    details = data.draw(
        st.none()
        | st.builds(
            Details,
            st.lists(st.tuples(texts, st.integers(1, 10**12)), max_size=8).map(tuple),
            st.lists(st.tuples(texts, st.integers(1, 10**12)), max_size=8).map(tuple),
            st.lists(st.tuples(st.integers(1, 2), texts), max_size=3).map(tuple),
        )
    )
    found = written(
        kind,
        details,
        negatives=data.draw(st.integers(0, 10**15)),
        reason=data.draw(texts),
        until=data.draw(st.none() | st.just(AT + 5 * HOUR)),
        empty=data.draw(st.just(()) | st.just((AT, AT + HOUR))),
        late=data.draw(st.booleans()),
    )

    for text, most in ((found.subject, 99), (found.sms, 140)):
        assert 0 < len(text) <= most
        assert text.isascii()
        assert text.isprintable()
    forms = json.loads(found.structure)
    assert forms.keys() == {"default", "email", "sms", "https"}
    assert json.loads(forms["https"])["content"].keys() == {"textType", "title", "description"}
    assert len(found.structure.encode()) < 256 * 1024, "SNS's limit"


@given(st.text())
def test_an_excerpt_is_one_line_of_at_most_160_characters(text: str) -> None:
    found = folded(text)

    assert len(found) <= 160
    assert found.isprintable() or not found
    assert found == found.strip()


def test_an_excerpt_keeps_what_people_write() -> None:
    assert folded("  «Ça»\tne marche\r\npas 😡 ") == "«Ça» ne marche pas 😡"
    assert folded("x" * 161) == "x" * 159 + "…"
