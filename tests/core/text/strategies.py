"""Generated texts with hostile words and nested, adjacent and crossing entities."""

from __future__ import annotations

from hypothesis import strategies as st

from core.model import Entity, Text

HOSTILE = (
    "a", "b", "Z", "7", " ", " ", "\n", "\n", "\t", "*", "**", "_", "~~", "~", "`", "```", "[", "]", "(", ")", "!",
    "<", ">", "&", "&amp;", "&#60;", "\\", "#", "# ", "- ", "+ ", "1. ", "> ", "---", "===", "|", ":", "3:100:7",
    "'", '"', "</b>", "<br>", "<!--", "-->", "<a href=x>", "](http://x)", "http://a_b.org/c_d?e=1&copy=2",
    "é", "e\u0301", "👨\u200d👩\u200d👧\u200d👦", "👍🏽", "🇩🇪", "אבג", "\u202e", "\u200b", "「", "」", "日本", "\u00a0",
    "@", "/me ", "%s", "${x}", "{{7*7}}", "''; --", "﷽", "क्षि", "ก็", "\ufeff", "😀",
)  # fmt: skip
URLS = ("https://example.org/", "http://a.b/c_d?e=1&amp=2&copy;", "mailto:a@b.org", "https://x.org/(y)'\"<z>\\")
VALUES = {
    "link": st.sampled_from(URLS),
    "pre": st.sampled_from(("", "python", "c++")),
    "mention": st.just("U1"),
    "emoji": st.just("wave"),
    "timestamp": st.just("1600000000"),
}
ALL = (
    "bold",
    "italic",
    "underline",
    "strike",
    "spoiler",
    "code",
    "pre",
    "quote",
    "link",
    "mention",
    "emoji",
    "timestamp",
)

words = st.lists(st.sampled_from(HOSTILE), max_size=14).map("".join)
any_words = st.text(max_size=60) | words


@st.composite
def texts(draw: st.DrawFn, kinds: tuple[str, ...] = ALL, said: st.SearchStrategy[str] = words) -> Text:
    """A text with up to five spans anywhere in it, in no order, even outside of it."""
    plain = draw(said)
    entities = [
        Entity(
            kind,  # type: ignore[arg-type]
            draw(st.integers(-1, len(plain) + 1)),
            draw(st.integers(0, len(plain) + 2)),
            draw(VALUES.get(kind, st.just(""))),
        )
        for kind in draw(st.lists(st.sampled_from(kinds), max_size=5))
    ]
    return Text(plain, tuple(entities))
