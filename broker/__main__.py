"""The entry point of `fhir-broker` and `python -m broker`: an error the user has to correct is one line, with
exit code 2; Ctrl-C is one line, with exit code 130.
"""

import gc
import sys

from broker.errors import ConfigurationError, StoreUnavailable

_INTERRUPTED = 130
_COLLECT_RARELY = (50_000, 20, 100)
"""A start creates many objects, nearly all of which live as long as the process."""


def main() -> None:
    gc.set_threshold(*_COLLECT_RARELY)
    try:
        # inside the try, so that Ctrl-C during the import prints no traceback
        from broker.cli import main as run  # noqa: PLC0415

        code = run()
    except (ConfigurationError, StoreUnavailable) as error:
        code = _report(str(error), 2)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(_report("stopped by Ctrl-C", code) if code == _INTERRUPTED else code)


def _report(message: str, code: int) -> int:
    print(f"fhir-broker: {message}", file=sys.stderr)  # noqa: T201 the message of a command
    return code


if __name__ == "__main__":
    main()
