"""The guided tour: what happens from a topic to a replay, on the stage of a demo."""

from broker.console.page import Answer, PageRequest, SeeOther, View
from broker.errors import Conflict, Issue, NotFound
from broker.services.tour import TourStage, TourStep

_STEPS = tuple(TourStep)


class TourPages:
    """The rows for `/tour`."""

    def __init__(self, stage: TourStage) -> None:
        self._stage = stage

    async def resume(self, _request: PageRequest) -> Answer:
        """The beginning, or the first step that is not done."""
        if not self._stage.is_ready:
            return View("tour_soon.html")
        if not self._stage.subscription_id:
            return SeeOther(f"/tour/{TourStep.TOPIC}")
        for step in _STEPS:
            if not (await self._stage.facts(step)).is_done:
                return SeeOther(f"/tour/{step}")
        return SeeOther(f"/tour/{TourStep.END}")

    async def show(self, request: PageRequest) -> Answer:
        if not self._stage.is_ready:
            return View("tour_soon.html")
        step = _step(request)
        number = _STEPS.index(step)
        values = {
            "step": step,
            "number": number + 1,
            "count": len(_STEPS),
            "facts": await self._stage.facts(step),
            "before": _STEPS[number - 1] if number else None,
            "next": _STEPS[number + 1] if number + 1 < len(_STEPS) else None,
            "subscription_id": self._stage.subscription_id,
        }
        return View("tour.html", values)

    async def perform(self, request: PageRequest) -> Answer:
        """Does the step of the page, which then shows what came of it."""
        step = _step(request)
        if not self._stage.is_ready or not (await self._stage.facts(step)).is_open:
            text = "The steps before this one are not done yet. Do them first."
            raise Conflict(Issue("conflict", text))
        await self._stage.perform(step)
        return SeeOther(f"/tour/{TourStep.TOPIC if step is TourStep.END else step}", detail=step)


def _step(request: PageRequest) -> TourStep:
    try:
        return TourStep(request.params["step"])
    except ValueError as error:
        text = f"The tour has no step {request.params['step']!r}. Start at its beginning."
        raise NotFound(Issue("not-found", text)) from error
