"""The operations on dead letters (decision 042)."""

from collections.abc import Sequence

from broker.fhir.operation import Operation, OperationParameter

_LETTERS = (
    OperationParameter("kind", "in", 0, "1", "code", "change, event or inbox, and"),
    OperationParameter(
        "subscription", "in", 0, "1", "string", "the Subscription whose events were set aside."
    ),
    OperationParameter("after", "in", 0, "1", "string", "The next of an earlier answer: go on there."),
)
_EVERY = OperationParameter("all", "in", 0, "1", "boolean", "Or all there are.")
_NEXT = OperationParameter("next", "out", 0, "1", "string", "Where to go on; absent at the end.")
LETTER_OPERATIONS: Sequence[Operation] = (
    Operation(
        "dead-letters",
        "List dead letters",
        at_type=False,
        at_instance=False,
        affects_state=False,
        standard=frozenset(),
        resource="",
        parameters=(
            OperationParameter(
                "id", "in", 0, "1000", "string", "Those letters, in full; or a page of them by"
            ),
            *_LETTERS,
            OperationParameter("count", "in", 0, "1", "integer", "How many, at most 1000; default 100."),
            OperationParameter(
                "dead-letter",
                "out",
                0,
                "1000",
                "",
                "One dead letter.",
                (
                    OperationParameter("id", "out", 1, "1", "string", "Its id."),
                    OperationParameter("kind", "out", 1, "1", "code", "change, event or inbox."),
                    OperationParameter("time", "out", 1, "1", "instant", "When it was set aside."),
                    OperationParameter("reason", "out", 0, "1", "string", "Why."),
                    OperationParameter("reference", "out", 0, "1", "string", "The version it is about."),
                    OperationParameter("subscription", "out", 0, "1", "string", "Whose event it is."),
                    OperationParameter("event-number", "out", 0, "1", "string", "The number of the event."),
                    OperationParameter(
                        "stored", "out", 1, "1", "boolean", "Whether the resource it needs is stored."
                    ),
                    OperationParameter(
                        "redriving", "out", 1, "1", "boolean", "Whether a redrive is in progress."
                    ),
                    OperationParameter(
                        "field",
                        "out",
                        0,
                        "*",
                        "",
                        "Of an inbox entry.",
                        (
                            OperationParameter("name", "out", 1, "1", "string", "The name of the field."),
                            OperationParameter("value", "out", 0, "1", "string", "What the gateway wrote."),
                        ),
                    ),
                ),
            ),
            _NEXT,
        ),
    ),
    Operation(
        "redrive-dead-letters",
        "Redrive dead letters",
        at_type=False,
        at_instance=False,
        affects_state=True,
        standard=frozenset(),
        resource="",
        parameters=(
            OperationParameter("id", "in", 0, "1000", "string", "Those letters; or choose them by"),
            *_LETTERS,
            _EVERY,
            OperationParameter("redriven", "out", 1, "1", "integer", "How many are processed again."),
            OperationParameter("refused", "out", 1, "1", "integer", "How many cannot be redriven, and stay."),
            OperationParameter(
                "problem",
                "out",
                0,
                "100",
                "",
                "One of those.",
                (
                    OperationParameter("id", "out", 1, "1", "string", "The dead letter."),
                    OperationParameter("reason", "out", 1, "1", "string", "Why not."),
                ),
            ),
            _NEXT,
        ),
    ),
    Operation(
        "discard-dead-letters",
        "Discard dead letters",
        at_type=False,
        at_instance=False,
        affects_state=True,
        standard=frozenset(),
        resource="",
        parameters=(
            OperationParameter("id", "in", 0, "1000", "string", "Those letters; or choose them by"),
            *_LETTERS,
            _EVERY,
            OperationParameter("discarded", "out", 1, "1", "integer", "How many were deleted."),
            _NEXT,
        ),
    ),
)
