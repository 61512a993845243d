"""How a simulated EHR fails on request. Each fault is for one request, the next that it fits."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Slow:
    """Answers after so many seconds, as it would have."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Does nothing and answers with a status, with Retry-After if it has seconds."""

    status: int
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class LoseRequest:
    """Does nothing and closes the connection."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Does what was requested, and closes the connection instead of an answer."""


@dataclass(frozen=True, slots=True)
class WriteConcurrently:
    """Another client updates the resource first, so that a request with If-Match has the wrong version."""


@dataclass(frozen=True, slots=True)
class WriteTwice:
    """Does what was requested twice: a create leaves a second resource with the same identifier."""


Fault = Slow | Refuse | LoseRequest | LoseAnswer | WriteConcurrently | WriteTwice


@dataclass(frozen=True, slots=True)
class _Planned:
    fault: Fault
    method: str | None
    path: str | None

    def fits(self, method: str, path: str) -> bool:
        return self.method in {None, method} and (self.path is None or path.startswith(self.path))


@dataclass(slots=True)
class FaultPlan:
    """The faults to come, in their order. `done` are those that happened."""

    done: list[Fault] = field(default_factory=list)
    _planned: list[_Planned] = field(default_factory=list)

    def add(self, *faults: Fault, method: str | None = None, path: str | None = None) -> None:
        """Each is for one request of the method, to a path that begins so: `Observation`, or `` for a
        transaction; None is any.
        """
        self._planned += [_Planned(fault, method, path) for fault in faults]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault of a request."""
        for n, planned in enumerate(self._planned):
            if planned.fits(method, path):
                del self._planned[n]
                self.done.append(planned.fault)
                return planned.fault
        return None

    @property
    def is_empty(self) -> bool:
        """Whether all faults happened."""
        return not self._planned

    def clear(self) -> None:
        self._planned.clear()
