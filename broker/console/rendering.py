"""Renders the templates of the console. Every value is escaped, and a name that is missing is an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from broker.console.page import Page, View
from broker.console.static_files import StaticFiles
from broker.model.access import Access
from broker.model.principal import Principal, PrincipalRole

FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Visit:
    """What every page shows besides its own values. `csrf` is '' where nobody is logged in."""

    principal: Principal
    csrf: str = ""
    path: str = ""
    notice: str = ""
    can_log_out: bool = False


class Templates:
    """Compiles all templates when it is made. `base` is the path of the console, such as `/console`."""

    def __init__(self, base: str, navigation: Sequence[Page], static: StaticFiles) -> None:
        self._base = base
        self._navigation = navigation
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "url": self.url,
            "static": lambda name: f"{base}/static/{static.versioned(name)}",
            "when": when,
            "number": lambda value: f"{value:,}",
            "path_of": path_of,
        }
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def url(self, path: str) -> str:
        """The URL path of a path of the console."""
        return f"{self._base}{path}"

    def render(self, view: View, visit: Visit) -> str:
        """The text of a view."""
        principal = visit.principal
        return self._environment.get_template(view.template).render(
            {
                "visit": visit,
                "navigation": [page for page in self._navigation if page.access.is_met_by(principal)],
                "may": lambda scope: Access(scope=scope).is_met_by(principal),
                "may_role": lambda role: Access(role=PrincipalRole(role)).is_met_by(principal),
                "csrf_field": lambda: _csrf_field(visit.csrf),
                **view.values,
            }
        )


def when(at_ms: int | None) -> Markup:
    """A time in UTC, for people and machines; a dash for none."""
    if at_ms is None:
        return Markup("–")
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="milliseconds"), f"{at:%Y-%m-%d %H:%M:%S} UTC"
    )


def path_of(*parts: str) -> str:
    """A path of the console whose parts may have any characters."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _csrf_field(token: str) -> Markup:
    return Markup('<input type="hidden" name="csrf" value="{}">').format(token)
