"""The XHTML of a narrative: one `div` of basic formatting, without scripts, forms or objects (txt-1, txt-2).

`find_narrative_problem` says what is wrong with it. Primitives and the fast way of validation call it.
"""

import re
from html.entities import name2codepoint
from xml.parsers import expat

_XHTML = "http://www.w3.org/1999/xhtml"
_XML = "http://www.w3.org/XML/1998/namespace"
_ELEMENT_NAMES = """
a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2
h3 h4 h5 h6 hr i img kbd li map ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt
ul var
"""
_ATTRIBUTE_NAMES = """
abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff
charset cite class colspan compact coords dir frame headers height href hreflang hspace id lang longdesc name
nowrap rel rev rowspan rules scope shape span src start style summary tabindex title type usemap valign value
vspace width
"""
_ELEMENTS, _ATTRIBUTES = frozenset(_ELEMENT_NAMES.split()), frozenset(_ATTRIBUTE_NAMES.split())
_PREDEFINED = frozenset({"amp", "lt", "gt", "quot", "apos"})
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_SCRIPT = re.compile(r"\s*(?:java|vb)script\s*:", re.IGNORECASE)


class _NotNarrative(Exception):  # noqa: N818 named for what is the case
    """The text can't be a narrative; the argument says why."""


class _Reader:
    """The handlers of the parser. `has_content` once there is text or an image."""

    def __init__(self) -> None:
        self.has_content = False
        self._depth = 0

    def start(self, qualified_name: str, attributes: dict[str, str]) -> None:
        namespace, _, name = qualified_name.rpartition(" ")
        if namespace != _XHTML:
            raise _NotNarrative(f"has the element {name!r} outside the namespace {_XHTML}")
        if not self._depth and name != "div":
            raise _NotNarrative(f"must be a div, not {name!r}")
        if name not in _ELEMENTS:
            raise _NotNarrative(f"may not have the element {name!r}")
        for attribute, value in attributes.items():
            _check_attribute(name, attribute, value)
        self._depth += 1
        self.has_content = self.has_content or (name == "img" and "src" in attributes)

    def end(self, _name: str) -> None:
        self._depth -= 1

    def text(self, characters: str) -> None:
        self.has_content = self.has_content or not characters.isspace()

    def document_type(self, *_: object) -> None:
        raise _NotNarrative("may not have a document type")


def find_narrative_problem(text: str) -> str | None:
    """What is wrong with the `div` of a narrative, as it follows the element's name; None for a valid one."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.document_type
    try:
        parser.Parse(_ENTITY.sub(_character, text), True)
    except _NotNarrative as error:
        return str(error)
    except expat.ExpatError as error:
        return f"must be well-formed XHTML: {error}"
    return None if reader.has_content else "has neither text nor an image"


def _check_attribute(element: str, attribute: str, value: str) -> None:
    namespace, _, name = attribute.rpartition(" ")
    if namespace != _XML and (namespace or name not in _ATTRIBUTES):
        raise _NotNarrative(f"may not have the attribute {name!r} on {element!r}")
    if name in {"href", "src"} and _SCRIPT.match(value):
        raise _NotNarrative(f"may not have a script in {name!r}")


def _character(entity: re.Match[str]) -> str:
    """XML knows five named characters; the others of HTML are written as the characters themselves."""
    name = entity[1]
    if name in _PREDEFINED or name not in name2codepoint:
        return entity[0]
    return chr(name2codepoint[name])
