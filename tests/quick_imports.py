"""Keeps jsonschema from compiling the grammars of formats that nothing here checks, for more than a second.

It does so in an environment that has them, as that of the tests: another library of theirs needs them.
"""

import sys

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as Python marks what cannot be imported
