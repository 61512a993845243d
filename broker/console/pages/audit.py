"""The audit trail: searched by who, when, what and about whom, and verified."""

from urllib.parse import urlencode

from broker.console.page import Answer, PageRequest, View
from broker.errors import Issue, Malformed
from broker.model.audit import AuditAction
from broker.model.whole_number import whole_number
from broker.services.audit import AuditService
from broker.services.audit_query import MAX_EXAMINED, AuditQuery

PAGE = 50
_WORDS = ("agent", "action", "subject", "outcome", "start", "end")


class AuditPages:
    """The rows for `/audit`."""

    def __init__(self, audit: AuditService) -> None:
        self._audit = audit

    async def search(self, request: PageRequest) -> Answer:
        """The newest entries first."""
        words = {name: request.query.get(name, "").strip() for name in _WORDS}
        query = _query(words)
        behind = whole_number(request.query.get("behind", "") or "0")
        if behind is None:
            raise Malformed(Issue("value", "The page is invalid. Start from the first one.", "behind"))
        page = await self._audit.search(
            request.principal,
            query.passes,
            query.period,
            behind=behind,
            count=PAGE,
            max_examined=MAX_EXAMINED,
        )
        asked = {name: value for name, value in words.items() if value}
        values = {
            "words": words,
            "actions": list(AuditAction),
            "entries": page.entries,
            "is_continued": bool(behind),
            "first": _path(asked),
            "next": _path(asked | {"behind": str(page.next)}) if page.next else "",
        }
        return View("audit.html", values)

    async def verify(self, request: PageRequest) -> Answer:
        """A part of the chain, from behind what was verified before."""
        after = request.query.get("after", "")
        head = request.query.get("head", "").strip()
        result = await self._audit.verify(request.principal, after, [head] if head else ())
        is_complete = result.problem is None and result.reached == result.head
        following = {"after": str(result.reached)} | ({"head": head} if head else {})
        values = {
            "result": result,
            "head": head,
            "is_complete": is_complete,
            "next": "" if is_complete or result.problem else f"/audit/verify?{urlencode(following)}",
        }
        return View("audit_verify.html", values)


def _query(words: dict[str, str]) -> AuditQuery:
    action = words["action"]
    if action and action not in set(AuditAction):
        raise Malformed(Issue("value", f"There is no action {action[:40]!r}. Choose one.", "action"))
    return AuditQuery(
        words["agent"],
        AuditAction(action) if action else None,
        words["subject"],
        words["outcome"] == "failure",
        words["start"],
        words["end"],
    )


def _path(words: dict[str, str]) -> str:
    return f"/audit?{urlencode(words)}" if words else "/audit"
