"""The mappings of device payloads that this process uses, and the document that describes them."""

from collections.abc import Callable, Sequence

from broker.errors import Issue, Malformed
from broker.mapping.decoders.gatt import CHARACTERISTICS
from broker.mapping.document import Section, rows_of, sections, to_csv, to_html, to_markdown
from broker.mapping.examples import example, example_names
from broker.mapping.mapping_set import MappingSet
from broker.services.document import Document

FORMATS = ("html", "csv", "markdown")


class MappingService:
    """`mappings` gives those in force."""

    def __init__(self, mappings: Callable[[], MappingSet]) -> None:
        self._mappings = mappings

    def names(self) -> Sequence[str]:
        """The names of the mappings, in order."""
        return sorted(self._mappings().names)

    def example_names(self) -> Sequence[str]:
        """The shipped mappings that have an example payload."""
        return example_names()

    def characteristics(self) -> Sequence[str]:
        """The numbers of the Bluetooth characteristics whose values can be read."""
        return sorted(CHARACTERISTICS)

    def example(self, name: str) -> str:
        """The example payload of a shipped mapping, '' for another."""
        return example(name).decode() if name in example_names() else ""

    def sections(self) -> Sequence[Section]:
        """The mapping document, a section for each mapping."""
        return sections(self._mappings())

    def document(self, form: str) -> Document:
        """The mapping document in a form of `FORMATS`. Raises `Malformed` for another."""
        mappings = self._mappings()
        rows = rows_of(mappings)
        match form:
            case "html":
                return Document(to_html(rows, mappings), "text/html", "mapping-document.html")
            case "csv":
                return Document(to_csv(rows), "text/csv", "mapping-document.csv")
            case "markdown":
                return Document(to_markdown(rows, mappings), "text/markdown", "mapping-document.md")
        text = f"format takes {', '.join(FORMATS)}, not {form[:80]!r}."
        raise Malformed(Issue("value", text, "format"))
