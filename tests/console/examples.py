"""A path for each page of the console whose path has parameters. `{id}` of a subscription and the like is
filled in from what the tests stored.
"""

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {}
"""By the path of the row. A row without parameters needs none."""
