"""Text that PostgreSQL cannot keep comes back as it was."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from actorq.engines.postgres.escapes import dumps, loads


TEXT = st.text(st.characters() | st.sampled_from("\x00\uf8ff\ud800\udfff\\u0"))
DATA = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(DATA)
def test_what_is_said_comes_back(data: object) -> None:
    """Whatever characters are in it."""
    assert loads(dumps(data)) == data


@given(DATA)
def test_postgresql_can_keep_it(data: object) -> None:
    """No NUL, no half of a pair."""
    text = dumps(data)
    text.encode()
    assert "\x00" not in text

    def look(found: object) -> None:
        if isinstance(found, str):
            assert "\x00" not in found
            found.encode()
        elif isinstance(found, list):
            for each in found:
                look(each)
        elif isinstance(found, dict):
            for key, value in found.items():
                look(key)
                look(value)

    look(json.loads(text))


def test_plain_text_is_json_as_it_stands() -> None:
    """For who looks into a table by hand."""
    assert dumps(["ä", "\\u0000", 1, None]) == '["ä","\\\\u0000",1,null]'
