"""HTML as a reader wants it: what is kept, what goes, and that no page can stall, hide words or fake a fence."""

from __future__ import annotations

import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from autopilot_runtime.tool.webpage import read_page

URL = "https://example.com/docs/a/index.html"


def text(source: str) -> str:
    return read_page(textwrap.dedent(source), URL).text


def test_a_page_reads_like_its_author_meant_it() -> None:
    source = """
    <!doctype html><html><head><title> A &amp; B
      page</title><style>p {}</style><script>document.write("<p>no</p>")</script></head><body>
    <nav><a href=/>Home</a></nav>
    <h1>Top<a class=headerlink href="#top">¶</a></h1>
    <p>Some <b>bold</b>, <code>x = 1</code> and <a href="../more.html">a link to <i>more</i></a>. And<br>a line.</p>
    <ul><li><p>one</p></li><li>two<ol><li>a</li><li>b <a href="javascript:x()">js</a></li></ol></li><li>three</ul>
    <pre><code class="language-python">def f():
        return 1
    </code></pre>
    <table><tr><th>key</th><th>value</th></tr><tr><td><p>a</p></td><td><p>1</p></td></tr></table>
    <dl><dt>term</dt><dd><p>meaning</p></dd></dl>
    <blockquote><p>quoted</p></blockquote>
    <img src="https://example.com/track.png" alt="A cat"><p>&lt;b&gt;&nbsp;&copy;</p><footer>legal</footer>
    </body></html>
    """
    page = read_page(textwrap.dedent(source), URL)
    assert page.title == "A & B page"
    expected = """
    # Top

    Some bold, `x = 1` and [a link to more](https://example.com/docs/more.html). And
    a line.

    - one
    - two
      1. a
      2. b js
    - three

    ```python
    def f():
        return 1
    ```

    key | value
    a | 1

    term
      meaning

    > quoted

    A cat

    <b> ©
    """
    assert page.text == textwrap.dedent(expected).strip()


def test_of_a_page_that_names_its_main_part_only_that_is_read() -> None:
    assert text("<div>menu</div><main><p>this</p></main><div>ads</div>") == "this"
    assert text("<div>all</div><main></main>") == "all"
    assert text("<div>menu</div><main><p>open to the end") == "open to the end"


@pytest.mark.parametrize(
    "hidden",
    [
        "<div hidden>{}</div>", "<span style='Display : none'>{}</span>", "<b style='visibility:hidden'>{}</b>",
        "<div aria-hidden='true'>{}<div>{}</div></div>", "<!-- {} -->", "<template>{}</template>",
        "<noscript>{}</noscript>", "<script>{}</script>", "<button>{}</button>",
    ],
)  # fmt: skip
def test_what_a_person_would_not_see_is_not_read(hidden: str) -> None:
    assert text(f"<p>before</p>{hidden.format('secret', 'secret')}<p>after</p>") == "before\n\nafter"


def test_invisible_characters_hide_no_words() -> None:
    assert text("a\u200bb\u202ec\U000e0041d\x1b[2Je") == "abcd[2Je"
    assert text("<pre>x\u200b\u202e\ty</pre>") == "```\nx\ty\n```"
    assert text("می\u200cخواهم") == "می\u200cخواهم"


def test_code_that_holds_a_fence_gets_a_longer_one() -> None:
    assert text("<pre>```\nx\n````</pre>") == "`````\n```\nx\n````\n`````"
    assert text("<pre>  </pre><pre>open to the end") == "```\nopen to the end\n```"


def test_links_that_lead_to_no_page_are_text() -> None:
    for href in ("javascript:x", "data:text/html,x", "#top", "mailto:a@b.c", "http://[x", "", f"/{'x' * 600}"):
        assert text(f"<a href='{href}'>here</a>") == "here"
    assert text("<a href='/a b\n'>x</a> <a>y</a> <a href=/c>z") == "[x](https://example.com/ab) y z"


def test_a_menu_without_an_end_does_not_swallow_the_page() -> None:
    assert text("<nav>menu<p>text") == "menu\n\ntext"


def test_text_without_any_tag_is_text() -> None:
    assert text("just words &amp; more") == "just words & more"
    assert text("") == ""


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "<", "</", "<a href='", "<![CDATA[", "&", "<?", "<!x", "<ul><li>x", "<table><td>", "`", "<pre>"],
)
def test_no_page_takes_for_ever(piece: str) -> None:
    began = time.monotonic()
    read_page(piece * (200_000 // len(piece)), URL)
    assert time.monotonic() - began < 5


PIECES = [
    "<p>", "</p>", "<ul>", "</ul>", "<li>", "<pre>", "</pre>", "<a href=/x>", "</a>", "<td>", "<tr>", "<table>",
    "</table>", "<main>", "</main>", "<h1>", "</h1>", "<nav>", "</nav>", "<div hidden>", "</div>", "word", "  ", "\n",
    "&lt;", "<title>", "</title>", "<br>", "<b", "<ol>", "`",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    some.lists(
        some.sampled_from(PIECES),
        max_size=40,
    )
)
def test_any_mixture_of_tags_can_be_read(parts: list[str]) -> None:
    page = read_page("".join(parts), URL)
    assert page.text == page.text.strip()
    assert "\n\n\n" not in page.text or "```" in page.text
