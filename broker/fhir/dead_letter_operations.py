"""The operations on dead letters (decision 042)."""

from collections.abc import Sequence

from broker.fhir.operation import Operation, Parameter

_LETTERS = (
    Parameter("kind", "in", 0, "1", "code", "change, event or inbox, and"),
    Parameter("subscription", "in", 0, "1", "string", "the Subscription whose events were set aside."),
    Parameter("after", "in", 0, "1", "string", "The next of an earlier answer: go on there."),
)
_EVERY = Parameter("all", "in", 0, "1", "boolean", "Or all there are.")
_NEXT = Parameter("next", "out", 0, "1", "string", "Where to go on; absent at the end.")
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
            Parameter("id", "in", 0, "1000", "string", "Those letters, in full; or a page of them by"),
            *_LETTERS,
            Parameter("count", "in", 0, "1", "integer", "How many, at most 1000; default 100."),
            Parameter(
                "dead-letter",
                "out",
                0,
                "1000",
                "",
                "One dead letter.",
                (
                    Parameter("id", "out", 1, "1", "string", "Its id."),
                    Parameter("kind", "out", 1, "1", "code", "change, event or inbox."),
                    Parameter("time", "out", 1, "1", "instant", "When it was set aside."),
                    Parameter("reason", "out", 0, "1", "string", "Why."),
                    Parameter("reference", "out", 0, "1", "string", "The version it is about."),
                    Parameter("subscription", "out", 0, "1", "string", "Whose event it is."),
                    Parameter("event-number", "out", 0, "1", "string", "The number of the event."),
                    Parameter("stored", "out", 1, "1", "boolean", "Whether the resource it needs is stored."),
                    Parameter("redriving", "out", 1, "1", "boolean", "Whether a redrive is in progress."),
                    Parameter(
                        "field",
                        "out",
                        0,
                        "*",
                        "",
                        "Of an inbox entry.",
                        (
                            Parameter("name", "out", 1, "1", "string", "The name of the field."),
                            Parameter("value", "out", 0, "1", "string", "What the gateway wrote."),
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
            Parameter("id", "in", 0, "1000", "string", "Those letters; or choose them by"),
            *_LETTERS,
            _EVERY,
            Parameter("redriven", "out", 1, "1", "integer", "How many are processed again."),
            Parameter("refused", "out", 1, "1", "integer", "How many cannot be redriven, and stay."),
            Parameter(
                "problem",
                "out",
                0,
                "100",
                "",
                "One of those.",
                (
                    Parameter("id", "out", 1, "1", "string", "The dead letter."),
                    Parameter("reason", "out", 1, "1", "string", "Why not."),
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
            Parameter("id", "in", 0, "1000", "string", "Those letters; or choose them by"),
            *_LETTERS,
            _EVERY,
            Parameter("discarded", "out", 1, "1", "integer", "How many were deleted."),
            _NEXT,
        ),
    ),
)
