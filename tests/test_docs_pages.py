"""docs/pages.py writes a site that works without a network: index, notebooks, documents, sample reports, modules."""

import importlib.util
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest
from test_project import ROOT, SOURCES, module_name

PAGES = ("index.html", "notebooks/04_evaluate.html", "docs/design.html", "docs/losses.html", "api/index.html",
         "api/cxr_kd/report/one_image.html", "samples/demo.html")  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "docs" / "pages.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "docs" / "pages.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(page: Path) -> list[str]:
    return [unescape(link) for link in re.findall(r'<a [^>]*?href="([^"]+)"', page.read_text(encoding="utf-8"))]


@pytest.mark.slow
def test_every_module_has_a_page(site):
    assert (site / "api" / "cxr_kd.html").is_file()
    names = [module_name(path) for path in SOURCES if path.name != "__main__.py"]
    written = {name: site.joinpath("api", "cxr_kd", *name.split(".")).with_suffix(".html") for name in names}
    assert [name for name, page in written.items() if not page.is_file()] == []


@pytest.mark.slow
def test_every_notebook_and_document_is_listed_and_every_link_leads_to_a_page(site):
    listed = links(site / "index.html")
    wanted = {path.stem for folder, kind in (("notebooks", "[0-9]*.ipynb"), ("docs", "*.md"))
              for path in (ROOT / folder).glob(kind)}  # fmt: skip
    shown = [Path(link).stem for link in listed]
    assert [name for name in sorted(wanted) if not any(each.startswith(name) for each in shown)] == []
    for page in (site / "index.html", *(site / "docs").glob("*.html")):
        anchors = set(re.findall(r'id="([^"]+)"', page.read_text(encoding="utf-8")))
        for link in links(page):
            file, _, anchor = link.partition("#")
            assert not file or (page.parent / file).is_file(), f"{page.name}: {link}"
            assert file or anchor in {unescape(each) for each in anchors}, f"{page.name}: {link}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_no_page_asks_anything_of_the_network(site, browser, name):
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / name).as_uri())
    page.wait_for_timeout(200)
    title = page.title()
    page.close()
    assert title
    assert [url for url in asked if not url.startswith((site.as_uri(), "data:", "blob:"))] == []


def test_executed_notebooks_are_shown_where_there_are_some(pages, tmp_path):
    for study in ("another", "demo"):
        folder = tmp_path / "reports" / study / "notebooks"
        folder.mkdir(parents=True)
        for name in ("01_data", "03_distill-a-seed0", "03_distill-b-seed0"):
            (folder / f"{name}.html").write_text(f"{study} {name}")
    assert pages.executed_study(home=tmp_path).parent.name == "demo"
    executed = pages.executed_study("another", tmp_path)
    listed = pages.write_notebooks(tmp_path / "site", executed)
    assert dict(listed)["03_distill-b-seed0.html"] == "3 · A student, with a teacher or alone (b-seed0)"
    assert dict(listed)["01_data.html"] == "1 · The data"
    assert dict(listed)["04_evaluate.html"] == "4 · How good is each network? (without results)"
    assert (tmp_path / "site" / "01_data.html").read_text() == "another 01_data"
    assert "How good is each network" in (tmp_path / "site" / "04_evaluate.html").read_text()
    with pytest.raises(SystemExit, match="make study STUDY=nowhere"):
        pages.executed_study("nowhere", tmp_path)
    assert pages.executed_study(home=tmp_path / "site") is None


def test_links_lead_to_pages_of_the_site(pages):
    source = "# A title, here\n[a](#a-title-here) [b](other.md#x) [c](../README.md) [d](https://example.org)"
    linked = pages._linked(source, {"other.md"})
    assert linked == "# A title, here\n[a](#A-title,-here) [b](other.html) [c] [d](https://example.org)"
