"""The error of a reading whose Observation was not written."""

from collections.abc import Sequence

from broker.errors import RequestError
from broker.mapping.reading import ReadingProblem


class Unwritten(Exception):  # noqa: N818 a property of the reading
    """Why the Observation was not written."""

    def __init__(self, problems: Sequence[ReadingProblem]) -> None:
        super().__init__(problems[0].reason)
        self.problems = problems


def not_accepted(error: RequestError, mapping: str) -> Unwritten:
    """The intake refused the Observation of the mapping."""
    return Unwritten(
        [
            ReadingProblem(issue.code, "not-accepted", mapping, "", issue.expression or "", issue.text)
            for issue in error.issues
        ]
    )
