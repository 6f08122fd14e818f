"""Text from data is shown by Markdown exactly as it is, and is never markup."""

import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from cxr_kd.report import markdown

PAYLOADS = (
    '"><img src=x onerror=alert(1)>',
    "<script>alert(1)</script>",
    "[a link](javascript:alert(1))",
    "<javascript:alert(1)>",
    "![a picture](https://example.org/x.png)",
    "a_b_c **bold** `code` $x^2$ ~~gone~~",
    "# 1. - a heading",
    "&lt;b&gt;",
)
PRINTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).filter(str.strip)


def shown(html: str) -> str:
    """Return the text that a browser shows for a paragraph; fail if there is any element inside it."""
    inside = re.fullmatch(r"<p>(.*)</p>", html.strip(), re.DOTALL)[1]
    assert "<" not in inside, inside
    return unescape(inside).strip()


@given(PRINTED)
@example(PAYLOADS[0])
@example(PAYLOADS[1])
def test_escaped_text_is_shown_as_it_is(value: str) -> None:
    assert shown(markdown2html_mistune(markdown.text(value))) == " ".join(value.split())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_are_text(payload: str) -> None:
    html = markdown2html_mistune(f"**{markdown.text(payload)}**").strip()
    assert shown(html.replace("<strong>", "").replace("</strong>", "")) == payload


@given(PRINTED)
@example("a ` b `` c")
@example("`")
def test_code_is_shown_as_it_is(value: str) -> None:
    html = markdown2html_mistune("file " + markdown.code(value)).strip()
    inside = re.fullmatch(r"<p>file <code>(.*)</code></p>", html)[1]
    assert "<" not in inside
    assert unescape(inside).strip() == " ".join(value.split()).strip()


def test_line_breaks_do_not_start_a_new_block() -> None:
    assert markdown.text("one\n\n# two\n- three") == r"one \# two \- three"
