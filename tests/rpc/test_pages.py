"""Every item comes once, whatever the page size; a token fits only where it came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitscope.errors import InvalidRequest
from unitscope.rpc.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, paginate


@given(count=st.integers(0, 120), page_size=st.integers(1, 130))
def test_pages_hold_every_item_once(count: int, page_size: int) -> None:
    items, token = list(range(count)), ""
    found: list[int] = []
    while True:
        page = paginate(items, listing="x", page_size=page_size, page_token=token)
        assert len(page.items) <= page_size
        found += page.items
        token = page.next_page_token
        if not token:
            break
    assert found == items


@pytest.mark.parametrize(("asked", "given"), [(0, DEFAULT_PAGE_SIZE), (10**6, MAX_PAGE_SIZE)])
def test_page_size_has_a_default_and_a_cap(asked: int, given: int) -> None:
    page = paginate(range(5000), listing="x", page_size=asked, page_token="")
    assert len(page.items) == given


def test_negative_page_size_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="page_size: got -1"):
        paginate([1], listing="x", page_size=-1, page_token="")


@given(st.text(min_size=1))
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        paginate(range(9), listing="x", page_size=1, page_token=text)


def test_token_of_another_listing_is_refused() -> None:
    token = paginate(range(9), listing="x", page_size=1, page_token="").next_page_token
    assert paginate(range(9), listing="x", page_size=1, page_token=token).items == range(1, 2)
    with pytest.raises(InvalidRequest, match="page_token"):
        paginate(range(9), listing="y", page_size=1, page_token=token)
