"""The page of reporting guidelines: every item has one state, every link a target, every answer a ground."""

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from fake_study import data_json

from cxr_kd.data.readers import chestxray14 as reader
from cxr_kd.report.citations import references
from cxr_kd.report.guidelines.answers import ANSWERS, answer_all
from cxr_kd.report.guidelines.checklist import CHECKLISTS, Answer, Checklist, Item, count, fill, read_checklist
from cxr_kd.report.guidelines.known import NOT_NEEDED, NOT_OF_PHANTOMS, Known
from cxr_kd.report.guidelines.page import PLACES, checklists, page_context
from cxr_kd.report.headline import badge
from cxr_kd.report.rendering import rendered
from cxr_kd.report.study_files import StudyFiles, read_study_files
from cxr_kd.study import Study, load_study
from cxr_kd.study.reporting import REPORTING_FIELDS

ROOT = Path(__file__).parents[2]
STATES = ("answered", "open", "does not apply")
Pair = tuple[Study, StudyFiles]


@pytest.fixture(scope="module")
def phantoms(made: Callable[..., Path]) -> Pair:
    study = load_study(made("phantom", "phantom", (0,)) / "studies" / "artificial.yaml")
    return study, read_study_files(study)


@pytest.fixture(scope="module")
def chestxray14(phantoms: Pair) -> Pair:
    """The study chestxray14 as it is shipped, with small files as it would write them: its arms are made-up ones'."""
    study, (_, files) = load_study(ROOT / "studies" / "chestxray14.yaml"), phantoms
    arms = {run.arm for run in study.all_runs}
    data = {**data_json("full", "chestxray14"), "source": reader.SOURCE}
    cards = {run.name: files.cards[f"{run.arm}-seed0"] for run in study.all_runs}
    evaluations = files.evaluations[files.evaluations["arm"].isin(arms)].assign(interval="patients and trainings")
    comparisons = files.comparisons[files.comparisons["second"].isin(arms)].assign(interval="patients and trainings")
    cost = files.cost[files.cost["arm"].isin(arms)]
    return study, replace(files, data=data, cards=cards, evaluations=evaluations, comparisons=comparisons, cost=cost)


@pytest.fixture(params=["phantoms", "chestxray14"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


class Page(HTMLParser):
    """Links, ids, and the cells of the tables of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.states: list[str] = []
        self._in_state = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given["href"] or ""] if "href" in given else []
        self.ids += [given["id"] or ""] if "id" in given else []
        self._in_state = tag == "td" and given.get("class") == "state"

    def handle_data(self, data: str) -> None:
        if self._in_state:
            self.states.append(data)
            self._in_state = False


def page_of(study: Study, files: StudyFiles, report: str) -> str:
    return rendered(
        "guidelines.html", {"study": study, "badge": badge(files.data), **page_context(study, files, report)}
    )


def test_the_checklists_have_the_items_of_the_guidelines() -> None:
    tripod, claim = (read_checklist(name).items for name in CHECKLISTS)
    assert (len(tripod), len({re.match(r"\d+", item.number)[0] for item in tripod})) == (52, 27)
    assert [item.number for item in claim] == [str(number) for number in range(1, 45)]
    assert len({item.number for item in tripod}) == 52


def test_every_item_names_known_answers_and_every_answer_is_needed() -> None:
    named = {name for each in CHECKLISTS for item in read_checklist(each).items for name in item.answers}
    assert named == set(ANSWERS)
    assert {read_checklist(name).reference for name in CHECKLISTS} <= set(references())
    assert {*NOT_OF_PHANTOMS, *NOT_NEEDED} <= set(REPORTING_FIELDS)


def test_facts_of_data_sets_answer_settings_and_name_their_source() -> None:
    facts = yaml.safe_load((ROOT / "cxr_kd/report/guidelines/data_sets.yaml").read_text())
    for dataset, named in facts.items():
        assert set(named) <= {*REPORTING_FIELDS, "test_annotation"}, dataset
        assert all(fact["text"].endswith(".") and fact["source"] for fact in named.values()), dataset


def test_every_item_has_one_state_and_every_answer_says_something(pair: Pair) -> None:
    for section in checklists(*pair):
        assert {each.state for each in section.items} <= set(STATES)
        for each in section.items:
            assert all(len(part.text) > 30 and not re.search(r"\b(None|nan)\b", part.text) for part in each.parts)
            assert bool(each.asked) == (each.state == "open"), each.item.number
            assert all(set(part.places) <= set(PLACES) for part in each.parts)


def test_most_items_of_the_chestxray14_study_are_answered(chestxray14: Pair) -> None:
    tripod, claim = checklists(*chestxray14)
    assert tripod.counts.share >= 0.9
    assert claim.counts.share >= 0.9
    asked = {field for section in (tripod, claim) for each in section.items for field in each.asked}
    assert asked == {"ethics", "funding", "conflicts", "failures", "interpretation"}
    assert tripod.sentence.startswith("TRIPOD+AI: 44 of 48 items that apply are answered (92 %), 4 are open.")


def test_without_a_persons_answers_the_same_study_leaves_them_open(chestxray14: Pair) -> None:
    study, files = chestxray14
    silent = study.model_copy(update={"reporting": type(study.reporting)()})
    asked = {field for section in checklists(silent, files) for each in section.items for field in each.asked}
    assert {"background", "limitations", "intended_use", "registration", "users"} <= asked
    assert all(section.counts.share < 0.9 for section in checklists(silent, files))


@pytest.mark.parametrize("field", sorted(REPORTING_FIELDS))
def test_each_setting_of_reporting_answers_an_item(chestxray14: Pair, field: str) -> None:
    study, files = chestxray14
    said = f"A person wrote this about {field}."
    reporting = study.reporting.model_copy(update={field: said})
    answers = answer_all(Known(study.model_copy(update={"reporting": reporting}), files))
    assert any(said in answer.text and answer.state == "answered" for answer in answers.values())


def test_items_about_patients_do_not_apply_to_phantoms(phantoms: Pair) -> None:
    answers = answer_all(Known(*phantoms))
    for name in ("ethics", "setting", "dates", "deidentification", "annotators", "patients_involved"):
        assert answers[name].state == "does not apply"
        assert "phantom" in answers[name].text
    assert answers["performance"].text.startswith("With 95 % intervals on phantoms, mean AUROC of DenseNet-161 0.")
    assert answers["funding"].state == "open"


def test_the_words_are_those_of_claim(pair: Pair) -> None:
    text = page_of(*pair, "")
    assert "Internal testing on 300 images" in text
    assert "Internal testing only" in text
    assert "reference standard" in text.lower()
    assert "ground truth" not in text.lower()


def test_results_that_are_missing_leave_their_items_open(phantoms: Pair) -> None:
    study, files = phantoms
    poor = replace(files, evaluations=files.evaluations.assign(left_out="too few positives", auroc=float("nan")))
    tripod = {each.item.number: each for each in checklists(study, poor)[0].items}
    assert [tripod[number].state for number in ("10", "23a", "24")] == ["open"] * 3
    assert "No finding has enough positive test images" in page_of(study, poor, "")


def test_an_item_is_open_if_a_part_is_and_counts_follow() -> None:
    answers = {
        "a": Answer("answered", "a"),
        "o": Answer("open", "o", ask="funding"),
        "n": Answer("does not apply", "n"),
    }
    wanted = {("a",): 0, ("a", "n"): 0, ("a", "o"): 1, ("o", "n"): 1, ("n",): 2, ("n", "n"): 2}
    items = tuple(Item(str(n), "", "", "", parts) for n, parts in enumerate(wanted))
    filled = fill(Checklist("", "", items), answers)
    assert [each.state for each in filled] == [STATES[position] for position in wanted.values()]
    counts = count(filled)
    assert (counts.apply, counts.answered, counts.open, counts.share) == (4, 2, 2, 0.5)


def test_every_link_of_the_page_has_a_target(report: Path, pair: Pair) -> None:
    there = set(Page(report.read_text()).ids)
    assert set(PLACES) - {"ablation", "groups", "agreement", "probabilities", "external"} <= there
    page = Page(page_of(*pair, report.read_text()))
    assert len(page.links) > 100
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        file, _, anchor = link.partition("#")
        assert file in ("", "index.html"), link
        assert anchor in ({*page.ids} if file == "" else {*there, ""}), link
    assert len(page.states) == 52 + 44
    assert set(page.states) <= set(STATES)


def test_the_page_is_written_beside_the_report_and_linked_from_it(report: Path) -> None:
    page, text = report.with_name("guidelines.html"), report.read_text()
    assert 'href="guidelines.html"' in text
    assert 'href="methods.md"' in text
    assert report.with_name("methods.md").read_text() in unescape(text)
    html = page.read_text()
    assert "<script" not in html
    assert "src=" not in html
    assert re.search(r'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;', html)
    assert '<aside class="kind phantom"' in html
    assert re.search(r"TRIPOD\+AI: \d+ of \d+ items that apply are answered", html)


def test_a_report_without_a_section_is_not_linked_there(phantoms: Pair) -> None:
    links = Page(page_of(*phantoms, '<section id="data"></section>')).links
    assert {link for link in links if link.startswith("index.html#")} == {"index.html#data"}


def test_open_items_come_first_with_the_setting_that_answers_them(chestxray14: Pair) -> None:
    html = page_of(*chestxray14, "")
    opened = re.search(r'<section id="open">.*?</section>', html, re.DOTALL)[0]
    assert (
        "<code>funding:</code></dt><dd>who paid for the study, and what the funders decided (TRIPOD+AI 18a, CLAIM"
        in opened
    )
    assert "chestxray14.yaml" in opened
    assert html.index('id="open"') < html.index('id="tripod_ai"')


def test_a_persons_text_is_text_and_not_markup(phantoms: Pair, tmp_path: Path) -> None:
    study, files = phantoms
    hostile = "<script>alert(1)</script> & <b>paid</b> by nobody"
    file = tmp_path / "artificial.yaml"
    file.write_text(study.file.read_text() + f"reporting: {{funding: '{hostile}'}}\n")
    page = page_of(load_study(file), files, "")
    assert "<script>" not in page
    assert hostile in unescape(page)
    assert "<code>funding:</code>" not in page  # no longer open


def test_a_browser_shows_the_page_wide_narrow_and_printed(report: Path, browser) -> None:
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(report.with_name("guidelines.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page scrolls sideways by {wide} px at {width} px"
    assert page.pdf(prefer_css_page_size=True)
    page.close()
    assert said == []
