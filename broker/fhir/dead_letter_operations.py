"""The operations that list, redrive and discard dead letters (decision 042)."""

from collections.abc import Sequence

from broker.fhir.operation import Operation, OperationParameter

_SELECTION = (
    OperationParameter(
        "kind", "in", 0, "1", "code", "Only dead letters of this kind: change, event or inbox."
    ),
    OperationParameter("subscription", "in", 0, "1", "string", "Only events of this Subscription."),
    OperationParameter(
        "after", "in", 0, "1", "string", "The `next` of an earlier response: continue behind it."
    ),
)
_ALL = OperationParameter(
    "all", "in", 0, "1", "boolean", "Every dead letter, where no id, kind or subscription selects some."
)
_NEXT = OperationParameter(
    "next", "out", 0, "1", "string", "The `after` of the next page; absent at the end."
)
DEAD_LETTER_OPERATIONS: Sequence[Operation] = (
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
                "id",
                "in",
                0,
                "1000",
                "string",
                "Dead letters to show in full. Without ids, a page of those selected.",
            ),
            *_SELECTION,
            OperationParameter(
                "count", "in", 0, "1", "integer", "The size of the page: at most 1000, 100 by default."
            ),
            OperationParameter(
                "dead-letter",
                "out",
                0,
                "1000",
                "",
                "A dead letter.",
                (
                    OperationParameter("id", "out", 1, "1", "string", "Its id."),
                    OperationParameter("kind", "out", 1, "1", "code", "change, event or inbox."),
                    OperationParameter("time", "out", 1, "1", "instant", "When it became a dead letter."),
                    OperationParameter("reason", "out", 0, "1", "string", "Why it was not processed."),
                    OperationParameter(
                        "reference", "out", 0, "1", "string", "The resource version that it is about."
                    ),
                    OperationParameter(
                        "subscription", "out", 0, "1", "string", "The Subscription of the event."
                    ),
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
                        "A field of an inbox entry.",
                        (
                            OperationParameter("name", "out", 1, "1", "string", "The name of the field."),
                            OperationParameter(
                                "value", "out", 0, "1", "string", "The value that the gateway wrote."
                            ),
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
            OperationParameter(
                "id",
                "in",
                0,
                "1000",
                "string",
                "The dead letters by id. Without ids, those that the other parameters select.",
            ),
            *_SELECTION,
            _ALL,
            OperationParameter("redriven", "out", 1, "1", "integer", "How many are processed again."),
            OperationParameter(
                "refused", "out", 1, "1", "integer", "How many cannot be redriven and remain dead letters."
            ),
            OperationParameter(
                "problem",
                "out",
                0,
                "100",
                "",
                "A dead letter that was refused.",
                (
                    OperationParameter("id", "out", 1, "1", "string", "Its id."),
                    OperationParameter("reason", "out", 1, "1", "string", "Why it was refused."),
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
            OperationParameter(
                "id",
                "in",
                0,
                "1000",
                "string",
                "The dead letters by id. Without ids, those that the other parameters select.",
            ),
            *_SELECTION,
            _ALL,
            OperationParameter("discarded", "out", 1, "1", "integer", "How many were deleted."),
            _NEXT,
        ),
    ),
)
