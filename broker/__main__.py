"""The entry point of `fhir-broker` and `python -m broker`: an error the user has to correct is one line, with
exit code 2.
"""

import sys

from broker.errors import ConfigurationError, StoreUnavailable


def main() -> None:
    try:
        # importing takes half a second: inside the try, so that Ctrl-C meanwhile prints no traceback
        from broker.cli import main as run  # noqa: PLC0415

        sys.exit(run())
    except (ConfigurationError, StoreUnavailable) as error:
        print(f"fhir-broker: {error}", file=sys.stderr)  # noqa: T201 the message of a command
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
