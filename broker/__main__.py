"""`fhir-broker` and `python -m broker`: what the user has to mend is told in one line, with exit code 2."""

import sys

from broker.errors import ConfigurationError, StoreUnavailable


def main() -> None:
    try:
        # half a second of imports, and Ctrl-C during them is no error either
        from broker.cli import app  # noqa: PLC0415

        app()
    except (ConfigurationError, StoreUnavailable) as error:
        print(f"fhir-broker: {error}", file=sys.stderr)  # noqa: T201 the last word of a command
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
