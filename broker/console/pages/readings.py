"""The tester of mappings: paste a payload, and the page says what would become of it. Nothing is stored."""

from broker.console.page import Answer, PageRequest, View
from broker.errors import Issue, Malformed
from broker.model.json_text import for_people
from broker.services.mappings import MappingService
from broker.services.reading_trial import ReadingTrialService, TrialReport, TrialRequest

JSON, CSV = "json", "csv"
_GATT = "gatt:"


class ReadingPages:
    """The rows for `/readings`."""

    def __init__(self, trial: ReadingTrialService, mappings: MappingService) -> None:
        self._trial = trial
        self._mappings = mappings

    async def show(self, request: PageRequest) -> Answer:
        """An empty form, or one with the example payload of a shipped mapping."""
        example = request.query.get("example", "")
        asked = {"payload": self._mappings.example(example), "mapping": example, "format": JSON}
        return self._view(asked, None)

    async def try_payload(self, request: PageRequest) -> Answer:
        """The form as it was sent, with what would become of the payload."""
        form = request.form
        asked = {name: form.get(name, "") for name in ("payload", "mapping", "format", "device", "patient")}
        parameters = {name: asked[name].strip() for name in ("device", "patient") if asked[name].strip()}
        content = _content(asked["payload"], asked["format"])
        trial = TrialRequest(content, asked["format"], asked["mapping"], parameters)
        return self._view(asked, await self._trial.run(request.principal, trial))

    def _view(self, asked: dict[str, str], report: TrialReport | None) -> View:
        names = self._mappings.names()
        examples = self._mappings.example_names()
        values = {
            "asked": {"device": "", "patient": "", **asked},
            "mappings": names,
            "examples": examples,
            "formats": [JSON, CSV, *(f"{_GATT}{each}" for each in self._mappings.characteristics())],
            "report": report,
            "for_people": for_people,
        }
        return View("readings.html", values)


def _content(payload: str, form: str) -> bytes:
    if not payload.strip():
        raise Malformed(Issue("required", "There is no payload. Paste one, or choose an example.", "payload"))
    if not form.startswith(_GATT):
        return payload.encode()
    try:
        return bytes.fromhex(payload)
    except ValueError:
        text = "The value of a characteristic is written as hexadecimal digits, such as 16 4D. Correct it."
        raise Malformed(Issue("value", text, "payload")) from None
