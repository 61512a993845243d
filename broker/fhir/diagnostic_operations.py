"""The operations `$explain`, for one change, and `$dry-run`, for an unregistered Subscription."""

from broker.fhir.operation import Operation, OperationParameter

_REPORT = (
    OperationParameter(
        "criteria", "out", 0, "1", "string", "The criteria as written in the topic or the Subscription."
    ),
    OperationParameter("outcome", "out", 1, "1", "code", "passed, failed, error or not-evaluated."),
    OperationParameter("reason", "out", 1, "1", "string", "The reason in a sentence."),
)
_TERM = (
    OperationParameter(
        "applies-to", "out", 0, "1", "string", "The resource type that the filter is limited to."
    ),
    OperationParameter("parameter", "out", 1, "1", "string", "The search parameter."),
    OperationParameter("expression", "out", 0, "1", "string", "The FHIRPath expression of the parameter."),
    OperationParameter("wanted", "out", 0, "1", "string", "The value that the filter asks for."),
    OperationParameter("found", "out", 0, "*", "string", "A value of the resource, shortened."),
    *_REPORT,
)
_CRITERIA = (*_REPORT, OperationParameter("term", "out", 0, "*", "", "One term of the query.", _TERM))
EXPLAIN = Operation(
    "explain",
    "Explain why a change is notified or not",
    at_type=False,
    at_instance=True,
    affects_state=False,
    standard=frozenset(),
    parameters=(
        OperationParameter(
            "resource", "in", 0, "1", "Resource", "The resource to explain, as if it were sent now."
        ),
        OperationParameter(
            "reference", "in", 0, "1", "string", "Or a stored version: Type/id or Type/id/_history/n."
        ),
        OperationParameter(
            "previous", "in", 0, "1", "Resource", "The previous state; default: the stored version."
        ),
        OperationParameter("interaction", "in", 0, "1", "code", "create, update or delete."),
        OperationParameter(
            "verdict", "out", 1, "1", "boolean", "Whether the subscriber is or would be notified."
        ),
        OperationParameter(
            "reason", "out", 1, "1", "string", "The first reason for the verdict, in a sentence."
        ),
        OperationParameter(
            "subscription",
            "out",
            1,
            "1",
            "",
            "The state of the Subscription.",
            (
                OperationParameter("id", "out", 1, "1", "string", "Its id."),
                OperationParameter("status", "out", 1, "1", "code", "Its status."),
                OperationParameter(
                    "counting", "out", 1, "1", "boolean", "Whether matching changes get a number."
                ),
                OperationParameter(
                    "counting-since", "out", 0, "1", "instant", "When the Subscription was activated."
                ),
                OperationParameter("events", "out", 1, "1", "string", "The number of its last event."),
                OperationParameter(
                    "delivered", "out", 1, "1", "string", "The number of the last delivered event."
                ),
            ),
        ),
        OperationParameter(
            "topic", "out", 1, "1", "uri", "The topic version that the Subscription is bound to."
        ),
        OperationParameter(
            "change",
            "out",
            1,
            "1",
            "",
            "The change that was explained.",
            (
                OperationParameter("focus", "out", 1, "1", "string", "The version."),
                OperationParameter("interaction", "out", 1, "1", "code", "create, update or delete."),
                OperationParameter("release", "out", 1, "1", "code", "The FHIR release of the resource."),
                OperationParameter("time", "out", 1, "1", "instant", "When it was accepted."),
                OperationParameter(
                    "stored", "out", 1, "1", "boolean", "False for a resource in the request."
                ),
                OperationParameter(
                    "previous", "out", 1, "1", "boolean", "Whether the previous state is available."
                ),
            ),
        ),
        OperationParameter(
            "trigger",
            "out",
            0,
            "*",
            "",
            "One trigger of the topic.",
            (
                OperationParameter("element", "out", 1, "1", "string", "Its element in the topic."),
                OperationParameter("resource", "out", 1, "1", "string", "The resource type of the trigger."),
                *_REPORT[1:],
                OperationParameter(
                    "require-both", "out", 0, "1", "boolean", "Whether both previous and current must pass."
                ),
                OperationParameter(
                    "previous", "out", 0, "1", "", "The criteria for the previous state.", _CRITERIA
                ),
                OperationParameter(
                    "current", "out", 0, "1", "", "The criteria for the current state.", _CRITERIA
                ),
                OperationParameter("fhirPath", "out", 0, "1", "", "The FHIRPath criteria.", _REPORT),
            ),
        ),
        OperationParameter("filter", "out", 0, "*", "", "One filter of the Subscription.", _TERM),
        OperationParameter(
            "delivery",
            "out",
            0,
            "1",
            "",
            "The delivery of a stored change.",
            (
                OperationParameter(
                    "waiting-to-be-matched", "out", 1, "1", "boolean", "Whether no matcher has read it yet."
                ),
                OperationParameter(
                    "numbered",
                    "out",
                    0,
                    "1",
                    "boolean",
                    "Whether it became an event; absent if it is too old to tell.",
                ),
                OperationParameter("event-number", "out", 0, "1", "string", "The event number."),
                OperationParameter("state", "out", 0, "1", "code", "delivered or waiting."),
                OperationParameter(
                    "attempts", "out", 0, "1", "integer", "Failed attempts of the current notification."
                ),
                OperationParameter("error", "out", 0, "1", "string", "The last failure."),
                OperationParameter("next-attempt", "out", 0, "1", "instant", "The time of the next attempt."),
            ),
        ),
        OperationParameter(
            "authorization",
            "out",
            1,
            "1",
            "",
            "On whose behalf the Subscription receives changes.",
            (
                OperationParameter(
                    "tenant", "out", 1, "1", "string", "The tenant whose changes the Subscription sees."
                ),
            ),
        ),
    ),
)
DRY_RUN = Operation(
    "dry-run",
    "Try a Subscription on stored changes",
    at_type=True,
    at_instance=False,
    affects_state=False,
    standard=frozenset(),
    parameters=(
        OperationParameter(
            "subscription", "in", 1, "1", "Subscription", "The Subscription to try; it is not registered."
        ),
        OperationParameter(
            "count", "in", 0, "1", "integer", "How many of the last changes to try, at most 10000."
        ),
        OperationParameter("changes", "out", 1, "1", "integer", "How many changes were tried."),
        OperationParameter("matched", "out", 1, "1", "integer", "How many would have been events."),
        OperationParameter(
            "oldest", "out", 0, "1", "instant", "The time of the oldest change that was tried."
        ),
        OperationParameter("complete", "out", 1, "1", "boolean", "Whether all stored changes were tried."),
        OperationParameter(
            "match",
            "out",
            0,
            "100",
            "",
            "One of the newest changes that match.",
            (
                OperationParameter("reference", "out", 1, "1", "string", "The version."),
                OperationParameter("interaction", "out", 1, "1", "code", "create, update or delete."),
                OperationParameter("time", "out", 1, "1", "instant", "When it was accepted."),
            ),
        ),
        OperationParameter("failed", "out", 0, "1", "integer", "How many evaluations failed."),
        OperationParameter("problem", "out", 0, "5", "string", "Why the first of them failed."),
    ),
)
