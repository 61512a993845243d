"""`fhir-broker` and `python -m broker`: what the user has to mend is told in one line, with exit code 2."""

import sys

from broker.cli import app
from broker.errors import ConfigurationError, StoreUnavailable


def main() -> None:
    try:
        app()
    except (ConfigurationError, StoreUnavailable) as error:
        print(f"fhir-broker: {error}", file=sys.stderr)  # noqa: T201 the last word of a command
        sys.exit(2)


if __name__ == "__main__":
    main()
