"""The report's pages from their templates. Every text is escaped; only Markup, which this package makes, is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cxr_kd.report.content_security import CONTENT_SECURITY_POLICY
from cxr_kd.report.style import finding_name


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """Return a page of the folder `templates`, with the report's style sheet and content-security policy."""
    environment = Environment(
        loader=PackageLoader("cxr_kd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["finding"] = finding_name
    environment.globals["style_sheet"] = Markup(environment.get_template("report.css").render())
    environment.globals["content_security_policy"] = CONTENT_SECURITY_POLICY
    return environment.get_template(template).render(context)
