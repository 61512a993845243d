"""FHIRPath criteria of topics: an expression is refused when it is compiled, or it evaluates in time."""

from broker.matching.fhirpath import BadExpression, compile_expression, evaluate_fhirpath
from broker.matching.problems import EvaluationFailed
from broker.model.release import Release
from tests.fuzz.samples import OBSERVATION, PATIENT
from tests.fuzz.target import Target, text_of


def check(data: bytes) -> None:
    expression = text_of(data)
    try:
        compile_expression(expression)
    except BadExpression:
        return
    for previous, current in ((None, OBSERVATION), (OBSERVATION, PATIENT), (PATIENT, None)):
        try:
            evaluate_fhirpath(expression, previous, current, Release.R4)
        except EvaluationFailed:
            continue


TARGET = Target(
    check,
    [
        "%current.value.value > 60",
        "(%previous.id.empty() or %previous.status != 'final') and %current.status = 'final'",
        "%current.subject.resolve() is Patient",
        "Observation.component.where(code.coding.code = '8480-6').value.ofType(Quantity).value > 140",
        "%current.value > 37.5 'Cel'",
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches('^(a+)+$')",
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.replaceMatches('^(a+)+$', 'b') = 'b'",
        "'a'.repeat($this & 'a')",
        "'aa'.encode('hex').encode('hex').encode('hex').exists()",
        "@2024-01-01T10:00:00Z < now()",
        "name.given.all($this.startsWith('A'))",
        "descendants().exists()",
        "iif(true, 1, 2) = 1",
        "'abc'.replace('b', '').length() = 2",
        "code.hasValue()",
        "1 / 0 = {}",
        "'\\u0041' & `id`",
        "((((((((true))))))))",
        "%unknown.exists()",
        "unknown()",
        "true and",
        "(1 | 2 | 3).aggregate($this + $total, 0) = 6",
    ],
    """
    %current %previous .where( .exists() .all( $this $total iif( .matches(' .replace( .descendants()
    .children() .repeat( .select( .toString() .toQuantity() @2024 'mg' and or is as .ofType( .aggregate( |
    div mod .combine( .power( 9999999999
    """,
    max_bytes=400,
)
