"""Report and notebook pages with hostile texts from files: no script runs, and nothing is asked of the network."""

import json
import re
import shutil
from html import unescape
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from fake_study import ABLATION, write_study
from IPython.core.interactiveshell import InteractiveShell
from nbformat import v4

from cxr_kd.files import read_json, write_json
from cxr_kd.report.notebook_page import clean, notebook_page, with_alternative_texts
from cxr_kd.report.page import NOTEBOOKS, write_report
from cxr_kd.study import load_study

ROOT = Path(__file__).parents[2]
ATTACK = '"><img src=x onerror="window.__xss=1"><script>window.__xss=1;alert(1)</script>'
FOREIGN = '<img src="https://example.org/x.png"><link rel=stylesheet href="https://example.org/x.css">'
HOSTILE = ATTACK + FOREIGN


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A study with an ablation, and with hostile text wherever a file of the user or of a data set has text."""
    home = tmp_path_factory.mktemp("hostile")
    write_study(home, "own", "phantom", (0, 1, 2), ABLATION)
    file = home / "studies" / "artificial.yaml"
    lines = file.read_text().splitlines()
    lines[:2] = [f"title: {json.dumps(HOSTILE)}", f"question: {json.dumps(HOSTILE)}"]
    file.write_text("\n".join(lines).replace("Which loss?", json.dumps("Which loss? " + HOSTILE)))
    study = load_study(file)
    path = study.runs_folder / "data.json"
    data = read_json(path)
    write_json(path, {
        **data, "left_out": {HOSTILE: 3}, "quarantine": {f"{HOSTILE}.png: damaged": 1},
        "source": dict.fromkeys((*data["source"], HOSTILE), HOSTILE),
        "marks": {"boxes": {HOSTILE: 2}, "boxed_images": 2, "masks": False},
        "views": {side: {HOSTILE: 5} for side in data["views"]},
    })  # fmt: skip
    for name in ("evaluations", "comparisons", "ablation"):
        table = study.runs_folder / f"{name}.csv"
        frame = pd.read_csv(table, keep_default_na=False, na_values=[""])
        frame["finding"] = frame["finding"].replace("Hernia", HOSTILE)
        if name == "ablation":
            frame["question"] = frame["question"].replace("Which loss?", "Which loss? " + HOSTILE)
        frame.to_csv(table, index=False)
    for run in study.all_runs:
        card = study.run_folder(run) / "card.json"
        write_json(card, {**read_json(card), "device": HOSTILE, "git_commit": HOSTILE, "versions": {HOSTILE: HOSTILE}})
    device = pd.read_csv(study.runs_folder / "device.csv")
    device.assign(cpu=HOSTILE).to_csv(study.runs_folder / "device.csv", index=False)
    listed = study.runs_folder / "explanations" / "explanations.json"
    write_json(listed, [{**entry, "caption": HOSTILE} for entry in read_json(listed)])
    return study


@pytest.fixture
def look(browser):
    """Open a page; return its requests (address, error), its dialogs, and whether a script of the page ran."""

    def open_page(path: Path) -> tuple[list[tuple[str, str]], list[str], bool]:
        asked, dialogs = [], []
        page = browser.new_page()
        page.on("requestfinished", lambda request: asked.append((request.url, "")))
        page.on("requestfailed", lambda request: asked.append((request.url, request.failure)))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        page.wait_for_timeout(200)
        ran = page.evaluate("'__xss' in window")
        page.close()
        return [request for request in asked if not request[0].startswith(("data:", path.as_uri()))], dialogs, ran

    return open_page


def executed(name: str, study) -> nbformat.NotebookNode:
    """A stored notebook with outputs made by hand: hostile Markdown, HTML, tables, streams, errors and JavaScript."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    frame = pd.DataFrame({HOSTILE: [HOSTILE]})
    shown = InteractiveShell.instance().display_formatter.format(frame)[0]
    outputs = [
        v4.new_output("display_data", {"text/html": shown["text/html"], "text/plain": "x"}),
        v4.new_output("display_data", {"text/html": f"<b>{HOSTILE}</b><svg onload='window.__xss=1'></svg>"}),
        v4.new_output("display_data", {"text/markdown": f"**{HOSTILE}** {HOSTILE}\n\n[x](javascript:window.__xss=1)"}),
        v4.new_output("display_data", {"application/javascript": "window.__xss=1"}),
        v4.new_output("display_data", {"image/svg+xml": f"<svg><script>window.__xss=1</script>{HOSTILE}</svg>"}),
        v4.new_output("display_data", {"text/latex": f"${HOSTILE}$", "text/plain": "x"}),
        v4.new_output("stream", name="stdout", text=HOSTILE),
        v4.new_output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    notebook.cells.append(v4.new_code_cell(f"# {HOSTILE}", outputs=outputs, execution_count=1))
    notebook.cells.append(v4.new_markdown_cell(f"## {HOSTILE}\n\n{HOSTILE}"))
    return notebook


def test_the_report_runs_no_script_and_asks_nothing_of_the_network(hostile, look) -> None:
    page = write_report(hostile)
    assert look(page) == ([], [], False)
    assert page.read_text().count("&lt;script&gt;window.__xss=1") > 10
    assert "<script" not in page.read_text()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_pages_run_no_script_and_ask_nothing_of_the_network(hostile, look, tmp_path, name) -> None:
    html = notebook_page(executed(name, hostile), HOSTILE)
    page = tmp_path / "page.html"
    page.write_text(html)
    assert look(page) == ([], [], False)
    assert "<script" not in html


def test_cleaning_alone_stops_scripts(hostile, look, tmp_path) -> None:
    """Without the policy, which is the second line of defence."""
    html = notebook_page(executed("01_data", hostile), HOSTILE)
    page = tmp_path / "page.html"
    page.write_text(re.sub("<meta[^>]*Content-Security-Policy[^>]*>", "", html))
    assert "Content-Security-Policy" not in page.read_text()
    assert look(page) == ([], [], False)


def test_the_policy_alone_stops_scripts(look, tmp_path) -> None:
    html = notebook_page(v4.new_notebook(), "a title")
    page = tmp_path / "page.html"
    page.write_text(html.replace("</main>", f"{HOSTILE}</main>"))
    asked, dialogs, ran = look(page)
    assert (dialogs, ran) == ([], False)
    assert {error for _, error in asked} == {"csp"}  # refused by the policy before they were sent


def test_a_page_is_called_after_its_study_and_its_notebook() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "01_data.ipynb", as_version=4)
    assert "<title>A &amp; B · 1 · The data</title>" in notebook_page(notebook, "A & B")
    assert "<title>A</title>" in notebook_page(v4.new_notebook(), "A")


def test_tables_survive_cleaning() -> None:
    frame = pd.DataFrame({"a": [1.5]})
    html = clean(InteractiveShell.instance().display_formatter.format(frame)[0]["text/html"])
    for piece in ("<table", "<thead>", "<th>a</th>", "<td>1.5</td>"):
        assert piece in html
    assert "vertical-align" not in html  # the contents of <style> are not shown as text


def test_images_of_a_notebook_are_described_by_the_heading_above_them() -> None:
    image = v4.new_output("display_data", {"image/png": "AAAA"})
    notebook = v4.new_notebook(cells=[
        v4.new_markdown_cell("# 1 · One\n\ntext"), v4.new_markdown_cell("text\n\n## Two & three"),
        v4.new_code_cell("figure", outputs=[image]),
    ])  # fmt: skip
    assert with_alternative_texts(notebook).cells[2].outputs[0].metadata["image/png"]["alt"] == "Figure: Two & three"
    assert image.metadata == {}
    assert 'alt="Figure: Two &amp; three"' in notebook_page(notebook, "A")


def test_a_hostile_study_file_is_printed_as_it_is(hostile, tmp_path) -> None:
    text = write_report(hostile).read_text()
    assert hostile.file.read_text() in unescape(text)
    shutil.copy(hostile.file, tmp_path / "copy.yaml")
    assert load_study(tmp_path / "copy.yaml").title == HOSTILE
