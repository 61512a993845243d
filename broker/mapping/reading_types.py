"""The types of readings that the broker knows: codes, profile, units, category and range of each.

A mapping names a type, so that it needs not repeat what the profile says; it may also write all of that
itself. The comments name the rows of the specification (V-...). A range is what is physically possible for
a living person and a working device, in the first unit; it is no medical limit.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from broker.mapping.codes import LOINC, MDC, Coding

_CORE = "http://hl7.org/fhir/StructureDefinition/"
_CGM = "http://hl7.org/fhir/uv/cgm/StructureDefinition/"
GLUCOSE_MOLAR_MASS = Decimal("180.156")


class Unit(NamedTuple):
    """A UCUM unit, and how people write it."""

    code: str
    text: str


class ReadingType(NamedTuple):
    """What Observations of one type have in common. The first of `units` is the one that values get.

    `components`: types of its components, all of which are there in each Observation.
    """

    title: str
    codes: tuple[Coding, ...]
    units: tuple[Unit, ...] = ()
    low: Decimal | None = None
    high: Decimal | None = None
    category: str = ""
    profile: str = ""
    molar_mass: Decimal | None = None
    components: tuple[str, ...] = ()
    is_value_required: bool = False
    """Whether the profile has no room for a dataAbsentReason in place of the value."""


def _loinc(code: str, display: str = "") -> Coding:
    return Coding(LOINC, code, display)


def _mdc(code: int, display: str) -> Coding:
    return Coding(MDC, str(code), display)


_PER_MIN = (Unit("/min", "beats/minute"),)
_BREATHS = (Unit("/min", "breaths/minute"),)
_PRESSURE = (Unit("mm[Hg]", "mmHg"),)
_PERCENT = (Unit("%", "%"),)
_MASS_GLUCOSE = (Unit("mg/dL", "mg/dL"),)
_MOLAR_GLUCOSE = (Unit("mmol/L", "mmol/L"),)
_DURATION = (Unit("min", "min"), Unit("h", "h"))
_VITAL = "vital-signs"
_ACTIVITY = "activity"


def _range(low: str, high: str) -> tuple[Decimal, Decimal]:
    return Decimal(low), Decimal(high)


READING_TYPES: Mapping[str, ReadingType] = {
    # V-01
    "heart-rate": ReadingType(
        "Heart rate", (_loinc("8867-4", "Heart rate"),),
        _PER_MIN, *_range("1", "400"), _VITAL, _CORE + "heartrate",
    ),
    "heart-rate-ecg": ReadingType(
        "Heart rate from an ECG",
        (_loinc("8867-4", "Heart rate"), _mdc(147842, "MDC_ECG_HEART_RATE")),
        _PER_MIN, *_range("1", "400"), _VITAL, _CORE + "heartrate",
    ),
    "pulse-rate": ReadingType(
        "Pulse rate from a pulse oximeter",
        (_loinc("8867-4", "Heart rate"), _mdc(149530, "MDC_PULS_OXIM_PULS_RATE")),
        _PER_MIN, *_range("1", "400"), _VITAL, _CORE + "heartrate",
    ),
    # V-02: the profile of heart rates demands another code
    "resting-heart-rate": ReadingType(
        "Resting heart rate",
        (_loinc("40443-4", "Heart rate --resting"),),
        _PER_MIN, *_range("1", "400"), _VITAL, _CORE + "vitalsigns",
    ),
    # V-03
    "blood-pressure": ReadingType(
        "Blood pressure",
        (
            _loinc("85354-9", "Blood pressure panel with all children optional"),
            _mdc(150020, "MDC_PRESS_BLD_NONINV"),
        ),
        category=_VITAL, profile=_CORE + "bp", components=("systolic", "diastolic"),
    ),
    "systolic": ReadingType(
        "Systolic blood pressure",
        (_loinc("8480-6", "Systolic blood pressure"), _mdc(150021, "MDC_PRESS_BLD_NONINV_SYS")),
        _PRESSURE, *_range("10", "400"),
    ),
    "diastolic": ReadingType(
        "Diastolic blood pressure",
        (_loinc("8462-4", "Diastolic blood pressure"), _mdc(150022, "MDC_PRESS_BLD_NONINV_DIA")),
        _PRESSURE, *_range("5", "300"),
    ),
    "mean-pressure": ReadingType(
        "Mean blood pressure", (_mdc(150023, "MDC_PRESS_BLD_NONINV_MEAN"),), _PRESSURE, *_range("5", "350")
    ),
    # V-04: the core profile demands 2708-6, US Core both
    "oxygen-saturation": ReadingType(
        "Oxygen saturation by pulse oximetry",
        (
            _loinc("2708-6", "Oxygen saturation in Arterial blood"),
            _loinc("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
            _mdc(150456, "MDC_PULS_OXIM_SAT_O2"),
        ),
        _PERCENT, *_range("1", "100"), _VITAL, _CORE + "oxygensat",
    ),
    # V-05
    "respiratory-rate": ReadingType(
        "Respiratory rate",
        (_loinc("9279-1", "Respiratory rate"), _mdc(151562, "MDC_RESP_RATE")),
        _BREATHS, *_range("0", "200"), _VITAL, _CORE + "resprate",
    ),
    # V-06
    "body-temperature": ReadingType(
        "Body temperature",
        (_loinc("8310-5", "Body temperature"), _mdc(150364, "MDC_TEMP_BODY")),
        (Unit("Cel", "Cel"), Unit("[degF]", "degF")), *_range("10", "50"), _VITAL, _CORE + "bodytemp",
    ),
    # V-07
    "body-weight": ReadingType(
        "Body weight",
        (_loinc("29463-7", "Body weight"), _mdc(188736, "MDC_MASS_BODY_ACTUAL")),
        (Unit("kg", "kg"), Unit("g", "g"), Unit("[lb_av]", "lb")), *_range("0.1", "700"), _VITAL,
        _CORE + "bodyweight",
    ),
    # V-08
    "body-height": ReadingType(
        "Body height",
        (_loinc("8302-2", "Body height"), _mdc(188740, "MDC_LEN_BODY_ACTUAL")),
        (Unit("cm", "cm"), Unit("[in_i]", "in")), *_range("10", "300"), _VITAL, _CORE + "bodyheight",
    ),
    # V-09
    "body-mass-index": ReadingType(
        "Body mass index",
        (
            _loinc("39156-5", "Body mass index (BMI) [Ratio]"),
            _mdc(188752, "MDC_RATIO_MASS_BODY_LEN_SQ"),
        ),
        (Unit("kg/m2", "kg/m2"),), *_range("3", "300"), _VITAL, _CORE + "bmi", is_value_required=True,
    ),
    # V-10
    "glucose-capillary": ReadingType(
        "Blood glucose, capillary, by glucometer",
        (
            _loinc("41653-7", "Glucose Glucometer (BldC) [Mass/Vol]"),
            _mdc(160184, "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD"),
        ),
        _MASS_GLUCOSE, *_range("1", "2000"), molar_mass=GLUCOSE_MOLAR_MASS,
    ),
    "glucose-undetermined": ReadingType(
        "Glucose in plasma, sample unknown",
        (_mdc(160368, "MDC_CONC_GLU_UNDETERMINED_PLASMA"),),
        _MASS_GLUCOSE, *_range("1", "2000"), molar_mass=GLUCOSE_MOLAR_MASS,
    ),
    # V-11
    "cgm-glucose-mass": ReadingType(
        "CGM glucose, mass concentration",
        (
            _loinc("99504-3"),
            _mdc(160212, "MDC_CONC_GLU_ISF"),
        ),
        _MASS_GLUCOSE, *_range("1", "2000"), profile=_CGM + "cgm-sensor-reading-mass-per-volume",
        molar_mass=GLUCOSE_MOLAR_MASS,
    ),
    # V-12
    "cgm-glucose-molar": ReadingType(
        "CGM glucose, molar concentration",
        (
            _loinc("105272-9"),
            _mdc(160212, "MDC_CONC_GLU_ISF"),
        ),
        _MOLAR_GLUCOSE, *_range("0.05", "111"), profile=_CGM + "cgm-sensor-reading-moles-per-volume",
        molar_mass=GLUCOSE_MOLAR_MASS,
    ),
    # V-13; which code is which level is as the CGM guide has it
    "cgm-summary": ReadingType("CGM summary", (_loinc("107931-8"),)),
    "cgm-mean-glucose-mass": ReadingType(
        "CGM mean glucose, mass concentration", (_loinc("97507-8"),),
        _MASS_GLUCOSE, *_range("1", "2000"), molar_mass=GLUCOSE_MOLAR_MASS,
    ),
    "cgm-mean-glucose-molar": ReadingType(
        "CGM mean glucose, molar concentration", (_loinc("105273-7"),),
        _MOLAR_GLUCOSE, *_range("0.05", "111"), molar_mass=GLUCOSE_MOLAR_MASS,
    ),
    "cgm-gmi": ReadingType(
        "CGM glucose management indicator", (_loinc("97506-0"),),
        _PERCENT, *_range("0", "100"),
    ),
    "cgm-time-in-range": ReadingType(
        "CGM time in range", (_loinc("97510-2"),), _PERCENT, *_range("0", "100")
    ),
    "cgm-time-very-low": ReadingType(
        "CGM time very low", (_loinc("104642-4"),),
        _PERCENT, *_range("0", "100"),
    ),
    "cgm-time-low": ReadingType(
        "CGM time low", (_loinc("104641-6"),),
        _PERCENT, *_range("0", "100"),
    ),
    "cgm-time-high": ReadingType(
        "CGM time high", (_loinc("104640-8"),),
        _PERCENT, *_range("0", "100"),
    ),
    "cgm-time-very-high": ReadingType(
        "CGM time very high", (_loinc("104639-0"),),
        _PERCENT, *_range("0", "100"),
    ),
    "cgm-variation": ReadingType(
        "CGM coefficient of variation", (_loinc("104638-2"),),
        _PERCENT, *_range("0", "1000"),
    ),
    "cgm-days-of-wear": ReadingType(
        "CGM days of wear", (_loinc("104636-6"),), (Unit("d", "days"),), *_range("0", "3650")
    ),
    "cgm-active-time": ReadingType(
        "CGM active time", (_loinc("104637-4"),), _PERCENT, *_range("0", "100")
    ),
    # V-14
    "ecg": ReadingType("ECG", (_mdc(131328, "MDC_ECG_ELEC_POTL"),), category="procedure"),
    "ecg-lead-i": ReadingType("ECG lead I", (_mdc(131329, "MDC_ECG_ELEC_POTL_I"),), (Unit("mV", "mV"),)),
    "ecg-lead-ii": ReadingType("ECG lead II", (_mdc(131330, "MDC_ECG_ELEC_POTL_II"),), (Unit("mV", "mV"),)),
    "ecg-lead-iii": ReadingType(
        "ECG lead III", (_mdc(131389, "MDC_ECG_ELEC_POTL_III"),), (Unit("mV", "mV"),)
    ),
    # V-15
    "heart-rate-variability": ReadingType(
        "Heart rate variability (SDNN)",
        (_loinc("80404-7", "R-R interval.standard deviation (Heart rate variability)"),),
        (Unit("ms", "ms"),), *_range("0", "5000"),
    ),
    # V-16
    "steps": ReadingType(
        "Steps in an interval", (_loinc("55423-8", "Number of steps"),), (Unit("{steps}", "steps"),),
        *_range("0", "500000"), _ACTIVITY,
    ),
    "steps-per-day": ReadingType(
        "Steps in 24 hours", (_loinc("41950-7", "Number of steps in 24 hour Measured"),),
        (Unit("/d", "steps/day"),), *_range("0", "500000"), _ACTIVITY,
    ),
    # V-17
    "calories": ReadingType(
        "Calories burned in an interval", (_loinc("55424-6"),), (Unit("kcal", "kcal"),),
        *_range("0", "50000"), _ACTIVITY,
    ),
    "calories-per-day": ReadingType(
        "Calories burned in 24 hours", (_loinc("41979-6"),),
        (Unit("kcal/d", "kcal/day"),), *_range("0", "50000"), _ACTIVITY,
    ),
    "exercise-duration": ReadingType(
        "Exercise duration", (_loinc("55411-3"),), (Unit("min", "min"),),
        *_range("0", "10080"), _ACTIVITY,
    ),
    "exercise-heart-rate-mean": ReadingType(
        "Mean heart rate during exercise", (_loinc("55425-3"),),
        _PER_MIN, *_range("1", "400"), _ACTIVITY,
    ),
    "exercise-heart-rate-max": ReadingType(
        "Maximal heart rate during exercise", (_loinc("55426-1"),),
        _PER_MIN, *_range("1", "400"), _ACTIVITY,
    ),
    "heart-rate-max-per-day": ReadingType(
        "Maximal heart rate in 24 hours", (_loinc("8873-2"),),
        _PER_MIN, *_range("1", "400"), _ACTIVITY,
    ),
    # V-18
    "sleep-duration": ReadingType(
        "Sleep duration", (_loinc("93832-4"),), _DURATION, *_range("0", "4320")
    ),
    "deep-sleep-duration": ReadingType(
        "Deep sleep duration", (_loinc("93831-6"),), _DURATION, *_range("0", "4320")
    ),
    "light-sleep-duration": ReadingType(
        "Light sleep duration", (_loinc("93830-8"),), _DURATION, *_range("0", "4320")
    ),
    "rem-sleep-duration": ReadingType(
        "REM sleep duration", (_loinc("93829-0"),), _DURATION, *_range("0", "4320")
    ),
}  # fmt: skip
