"""The error of a mapping file."""

from broker.errors import ConfigurationError


class MappingError(ConfigurationError):
    """A mapping file cannot be used: `file`, `line` (from 1), `field` (such as `observations[0].unit`)."""

    def __init__(self, file: str, line: int, field: str, text: str) -> None:
        super().__init__(f"{file}, line {line}: {field}: {text}" if field else f"{file}, line {line}: {text}")
        self.file = file
        self.line = line
        self.field = field
        self.text = text
