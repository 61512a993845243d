"""Which XHTML a narrative may have, and that a refusal names what is wrong."""

import pytest

from broker.fhir.narrative import find_narrative_problem

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">%s</div>'


@pytest.mark.parametrize(
    "content",
    [
        "text",
        '<p class="a" style="color:red">a<br/>b</p>',
        "<table border='1'><tbody><tr><td colspan='2'>x</td></tr></tbody></table>",
        '<a href="http://x.org" title="x">x</a><a name="y"/>',
        '<img src="#image" alt="x"/>',
        "a &lt; b &amp; c &#160; &nbsp; &eacute;",
        '<p xml:lang="de">x</p>',
        "<!-- comment -->x",
        "<![CDATA[x]]>",
        "<ul><li><b>a</b><i>b</i><tt>c</tt></li></ul>",
    ],
)
def test_basic_formatting_is_accepted(content: str) -> None:
    assert find_narrative_problem(DIV % content) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("text", "well-formed"),
        ("<div>x</div>", "namespace"),
        ('<p xmlns="http://www.w3.org/1999/xhtml">x</p>', "must be a div"),
        (DIV % "<p>x", "well-formed"),
        (DIV % "<br>x", "well-formed"),
        (DIV % "a & b", "well-formed"),
        (DIV % "&unknown;", "well-formed"),
        (DIV % "x" + DIV % "y", "well-formed"),
        (DIV % "<script>alert(1)</script>x", "'script'"),
        (DIV % "<form>x</form>", "'form'"),
        (DIV % "<iframe/>x", "'iframe'"),
        (DIV % "<object/>x", "'object'"),
        (DIV % "<input/>x", "'input'"),
        (DIV % "<font>x</font>", "'font'"),
        (DIV % "<body>x</body>", "'body'"),
        (DIV % "<svg xmlns='http://www.w3.org/2000/svg'/>x", "namespace"),
        (DIV % "<p onclick='x()'>x</p>", "'onclick'"),
        (DIV % "<a href=' JavaScript:x()'>x</a>", "script"),
        (DIV % "", "neither text nor an image"),
        (DIV % " <p> \n</p>", "neither text nor an image"),
        (DIV % "<img alt='x'/>", "neither text nor an image"),
        ('<!DOCTYPE div [<!ENTITY a "b">]>' + DIV % "&a;", "document type"),
        (DIV % "a\x01b", "well-formed"),
    ],
)
def test_anything_else_is_refused(text: str, problem: str) -> None:
    assert problem in (find_narrative_problem(text) or "")


def test_deep_nesting_is_no_problem() -> None:
    depth = 100_000
    assert find_narrative_problem(DIV % ("<b>" * depth + "x" + "</b>" * depth)) is None
