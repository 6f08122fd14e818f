"""An executed notebook as one HTML page that needs no network and runs no script.

nbconvert's own page loads require.js, MathJax, mermaid and widgets from the network, and copies HTML outputs unchanged.
This page differs in three things:

- The template `templates/notebook.html.j2` has no scripts.
- HTML and Markdown are cleaned: tags that are not listed here become text; other attributes are dropped.
- A Content-Security-Policy forbids scripts and every address outside the page, whatever the cleaning may have missed.
"""

from __future__ import annotations

import re
from copy import deepcopy
from importlib.resources import as_file, files
from typing import Any

from nbconvert import HTMLExporter
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode

from cxr_kd.report.content_security import CONTENT_SECURITY_POLICY

# fmt: off
TAGS = [
    "a", "abbr", "b", "code", "del", "em", "i", "small", "span", "strong", "sub", "sup",
    "blockquote", "br", "dd", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "ul",
    "table", "tbody", "td", "tfoot", "th", "thead", "tr",
]
# fmt: on
ATTRIBUTES = {
    "*": ["class", "id", "style", "title"],
    "a": ["href"],
    **{cell: ["colspan", "rowspan", "scope"] for cell in ("td", "th")},
}
_STYLE_ELEMENT = re.compile(r"<style\b.*?</style\s*>", re.DOTALL | re.IGNORECASE)  # pandas writes one into each table
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


def notebook_page(notebook: NotebookNode, title: str) -> str:
    """Return an executed notebook as HTML; the page's title is `title` and the notebook's first heading."""
    headings = [heading for cell in notebook.cells for heading in _headings(cell)]
    name = " · ".join([title, *headings[:1]])
    with as_file(files("cxr_kd.report") / "templates" / "notebook.html.j2") as template:
        exporter = HTMLExporter(template_file=str(template), sanitize_html=True, filters={"clean_html": clean})
        html, _ = exporter.from_notebook_node(
            with_alternative_texts(notebook),
            {"metadata": {"name": name}, "content_security_policy": CONTENT_SECURITY_POLICY},
        )
    return str(html)


def clean(html: Any) -> str:
    """Return HTML in which only listed tags and attributes are left; other tags are shown as text."""
    text = html.decode() if isinstance(html, bytes) else str(html)
    cleaner = SanitizeHTML(tags=TAGS, attributes=ATTRIBUTES)
    return str(cleaner.sanitize_html_tags(_STYLE_ELEMENT.sub("", text)))


def with_alternative_texts(notebook: NotebookNode) -> NotebookNode:
    """Return a copy in which each image that a cell shows has an alternative text: the heading above the cell."""
    copied, heading = deepcopy(notebook), ""
    for cell in copied.cells:
        heading = [heading, *_headings(cell)][-1]
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.metadata.setdefault("image/png", {}).setdefault("alt", f"Figure: {heading}")
    return copied


def _headings(cell: NotebookNode) -> list[str]:
    return _HEADING.findall(cell.source) if cell.cell_type == "markdown" else []
