"""The results page in a real browser, opened from disk: sorting, filters, explorer, links, use by everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import page_world
import pytest
from browser import CHECK, MISSING, Browser
from page_world import HOSTILE

from brain2clip import stage
from brain2clip.reporting import page

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
#: A checker of others, which is used where it is installed.
AXE = next(
    (path for path in (Path("node_modules/axe-core/axe.min.js"), Path(os.environ.get("AXE", ""))) if path.is_file()),
    None,
)
TAB, ENTER = "\ue004", "\ue007"
#: Said when a query with everything about it stands there.
SHOWN = (
    "return document.querySelectorAll('.candidates li').length > 0"
    " && document.querySelectorAll('#detail table a').length > 0"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> stage.Job:
    made = page_world.job(tmp_path_factory.mktemp("page"))
    page.run(made)
    return made


@pytest.fixture(scope="module")
def shown(world) -> Path:
    return world.output("page.html")


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with Browser() as made:
        yield made


@pytest.fixture
def browser(started) -> Iterator[Browser]:
    """A browser in which nothing may be complained of."""
    started.size(1280, 900)
    started.scheme("light")
    yield started
    assert started.complaints() == []
    assert not started.run("return document.title").startswith("owned")


def column(browser: Browser, table: str, number: int) -> list[str]:
    """Visible cells of a column."""
    script = (
        "return [...document.getElementById(arguments[0]).tBodies[0].rows].filter((row) => !row.hidden)"
        ".map((row) => row.cells[arguments[1]].textContent.trim())"
    )
    return browser.run(script, table, number)


def address(browser: Browser) -> str:
    return browser.run("return location.hash")


METHODS = "m-world-broad-within"


def test_tables_are_sorted_by_mouse_and_keyboard_and_the_address_keeps_it(browser, shown):
    browser.open(shown)
    first = column(browser, METHODS, 1)
    browser.click(f"#{METHODS} thead th:nth-child(2) button")
    assert column(browser, METHODS, 1) == sorted(first, key=lambda text: -float(text.split()[0])), "best first"
    browser.run("document.querySelector(arguments[0]).focus()", f"#{METHODS} thead th:nth-child(2) button")
    browser.press(ENTER)
    upwards = column(browser, METHODS, 1)
    assert upwards == sorted(first, key=lambda text: float(text.split()[0]))
    assert browser.run(f"return document.querySelector('#{METHODS} thead th:nth-child(2)').ariaSort") == "ascending"
    kept = address(browser)
    browser.open(shown, kept)
    assert column(browser, METHODS, 1) == upwards
    browser.open(shown)
    assert column(browser, METHODS, 1) == first, "without it as it was written"


def test_lines_are_filtered_and_the_address_keeps_it(browser, shown):
    browser.open(shown)
    names = column(browser, "t-main-1", 0)
    assert len(names) < 8, "few lines need no filter"
    hard = "h-world-broad-within"
    assert len(column(browser, hard, 1)) == 8
    browser.write(f".scroll:has(#{hard}) input", "s05")
    assert column(browser, hard, 1) == ["concept 5 s05"]
    kept = address(browser)
    browser.open(shown, kept)
    assert len(column(browser, hard, 1)) == 1


def test_a_query_is_found_with_its_picture_candidates_and_the_same_in_other_methods(browser, shown):
    browser.open(shown, "#study=world")
    browser.until(SHOWN)
    assert (
        browser.run("return [...document.querySelectorAll('.list tbody tr')].map((row) => row.cells[0].textContent)")[0]
        == "3 of 12"
    )
    assert browser.run("return document.querySelector('.seen img').naturalWidth") == 96
    browser.click("#detail table a")
    browser.until(SHOWN)
    best = browser.run("return [...document.querySelectorAll('.candidates li')].map((one) => one.textContent)")
    assert len(best) == 4
    assert best[0].startswith("1. ")
    assert "similarity 0.900" in best[0]
    right = browser.run("return [...document.querySelectorAll('.candidates li.right')].map((one) => one.textContent)")
    assert len(right) == 1
    assert "✓ the right candidate" in right[0]
    told = browser.run("return document.getElementById('detail').textContent")
    assert "null" not in told
    assert "undefined" not in told
    rows = browser.run("return document.querySelectorAll('#detail tbody tr').length")
    assert rows == len(page_world.METHODS)


def test_generated_pictures_stand_beside_their_query(browser, tmp_path):
    made = page_world.with_generated(page_world.job(tmp_path), tmp_path)
    page.run(made)
    at = "#study=world&task=stimulus&repetitions=all&method=good&subject=02&seed="
    browser.open(made.output("page.html"), at + "0&target=s07")
    browser.until(SHOWN)
    told = browser.run("return [...document.querySelectorAll('.generated img')].map((one) => one.alt)")
    assert told == [
        "Seen: concept 7",
        *(f"Generated from the response to concept 7, sample {number}" for number in (1, 2)),
        "Nearest of the training bank: concept 1",
        *(f"Oracle, generated from the seen picture's own embedding: concept 7, sample {number}" for number in (1, 2)),
    ]
    assert browser.run("return [...document.querySelectorAll('.generated img')].every((one) => one.naturalWidth > 60)")
    cells = "return [...document.querySelectorAll('.generated tr')].map((one) => one.cells[2].textContent)"
    assert browser.run(cells) == [f"{HOSTILE}: two-way (%) ↑", *["87.5"] * 4]
    assert browser.run(CHECK) == []
    fits = "const one = document.querySelector('.generated .scroll'); return one.scrollWidth <= one.clientWidth"
    assert browser.run(fits), "all columns are seen at this width, and the whole caption"
    only = "Generated pictures: not for this method, only for Good <b>method</b>."
    for other, words in (("1", ""), ("0&method=poor", only), ("0&repetitions=1", "")):
        given = dict(one.split("=") for one in (at[1:] + other).split("&"))
        browser.open(made.output("page.html"), "#" + "&".join(f"{key}={one}" for key, one in given.items()))
        browser.until(SHOWN)
        assert browser.run("return document.querySelector('.generated').textContent") == words, other
    browser.open(made.output("page.html"))
    assert "Generated pictures: only for" in browser.run("return document.querySelector('.card').textContent")
    browser.open(made.output("page.html"), "#study=world&method=poor")
    browser.until(SHOWN)
    browser.click(".generated a")
    browser.until("return document.querySelectorAll('.generated img').length > 0")


def test_filters_choose_and_a_link_leads_back_to_the_view(browser, shown):
    browser.open(shown, "#study=world")
    browser.until(SHOWN)
    browser.choose("#explore-method", "poor")
    browser.choose("#explore-subject", "02")
    browser.choose("#explore-seed", "1")
    browser.choose("#explore-repetitions", "1")
    browser.until("return document.querySelector('.status').textContent.startsWith('24 of 36 queries')")
    browser.until(SHOWN)
    listed = "return [...document.querySelectorAll('.list tbody tr')].map((row) => row.textContent)"
    before = browser.run(listed)
    assert len(before) == 24
    assert all(row.startswith(("1 of 12", "3 of 12")) for row in before)
    browser.click(".list tbody tr:nth-child(3) button")
    browser.until("return location.hash.includes('query=')")
    browser.until(SHOWN)
    title = browser.run("return document.querySelector('#detail .seen').textContent")
    link = browser.run("return document.querySelector('#explore a').hash")
    for part in ("study=world", "method=poor", "subject=02", "seed=1", "repetitions=1", "query="):
        assert part in link
    browser.open(shown, link)
    browser.until(SHOWN)
    assert browser.run(listed) == before
    assert browser.run("return document.querySelector('#detail .seen').textContent") == title
    assert browser.run("return document.getElementById('explore-method').value") == "poor"
    assert browser.run("return document.getElementById('explore-method').selectedOptions[0].textContent") == HOSTILE


def test_hardest_and_most_confused_lead_to_their_queries(browser, shown):
    browser.open(shown, "#study=world&view=hardest")
    browser.until("return document.querySelectorAll('.panes tbody tr').length > 0")
    ranks = browser.run(
        "return [...document.querySelectorAll('.panes tbody tr')].map((row) => +row.cells[2].textContent)"
    )
    assert ranks == sorted(ranks, reverse=True)
    assert browser.run("return document.querySelector('.panes tbody a').textContent") == "concept 5"
    browser.click(".panes tbody a")
    browser.until(SHOWN)
    seen = browser.run("return [...document.querySelectorAll('.list tbody button')].map((one) => one.textContent)")
    assert set(seen) == {"concept 5"}
    browser.open(shown, "#study=world&view=confused")
    browser.until("return document.querySelectorAll('.panes tbody tr').length > 0")
    assert browser.run("return document.querySelector('.panes tbody tr').cells[4].textContent") == "100"


def test_a_view_that_is_not_there_falls_back_to_one_that_is_and_says_so(browser, shown):
    browser.open(shown, "#study=nowhere&method=nobody&view=none&sort.nothing=1d&query=x&subject=99")
    browser.until(SHOWN)
    assert "study=world" in address(browser)
    assert "subject=99" not in address(browser)
    told = "const one = document.querySelector('#explore .warning'); return one.hidden ? '' : one.textContent"
    assert "what is not here: Study nowhere, Method nobody, Subject 99, query x." in browser.run(told)
    browser.choose("#explore-method", "poor")
    browser.until(f"return (() => {{ {told} }})() === ''")


def test_a_rank_of_another_method_leads_there_and_keeps_the_list(browser, shown):
    browser.open(shown, "#study=world&repetitions=all&method=good")
    browser.until(SHOWN)
    rows = "return document.querySelectorAll('.list tbody tr').length"
    before = browser.run(rows)
    name = browser.run("return document.querySelector('#detail h3').textContent")
    browser.click("#detail tbody tr:nth-child(2) td:nth-child(3) a")
    browser.until("return document.getElementById('explore-method').value === 'poor'")
    browser.until(SHOWN)
    assert browser.run(rows) == before > 1
    assert browser.run("return document.getElementById('explore-subject').value") == ""
    assert browser.run("return document.querySelector('#detail h3').textContent") == name
    assert "subject 02" in browser.run("return document.querySelector('#detail .seen').textContent")
    assert browser.run("return document.querySelectorAll('.list tr[aria-current]').length") == 1
    browser.until("return document.activeElement.id === 'detail'")
    top = browser.run("return document.getElementById('detail').getBoundingClientRect().top")
    assert 0 <= top < browser.run("return innerHeight"), "what the click did is seen"


def test_a_link_to_a_query_that_is_not_there_says_so(browser, shown):
    told = "const one = document.querySelector('#explore .warning'); return one.hidden ? '' : one.textContent"
    for wrong in ("query=good~01~0~9999", "target=nothing"):
        browser.open(shown, f"#study=world&repetitions=all&method=good&{wrong}")
        browser.until(SHOWN)
        assert f"what is not here: {wrong.replace('query=', 'query ').replace('target=', 'stimulus ')}." in browser.run(
            told
        )
        assert wrong not in address(browser)


def test_menus_say_what_names_of_the_configuration_mean(browser, shown):
    browser.open(shown, "#study=world&repetitions=all")
    browser.until(SHOWN)
    chosen = "return document.getElementById('explore-' + arguments[0]).selectedOptions[0].textContent"
    assert browser.run(chosen, "protocol").endswith("(within)")
    assert browser.run(chosen, "signal").endswith("Hz (broad)")


def test_heads_of_tables_have_no_button_on_paper(browser, shown):
    """Browsers repeat heads of tables on each sheet, but not the buttons in them."""
    browser.open(shown)
    heads = (
        "return [...document.querySelectorAll('#methods thead tr:first-child th')].map((one) => one.textContent.trim())"
    )
    buttons = "return document.querySelectorAll('th > button').length"
    before = browser.run(heads), browser.run(buttons)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert (browser.run(heads), browser.run(buttons)) == (before[0], 0)
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert (browser.run(heads), browser.run(buttons)) == before


def test_stimuli_are_searched_by_name_and_the_count_is_of_what_is_listed(browser, shown):
    browser.open(shown, "#study=world&repetitions=all")
    browser.until(SHOWN)
    browser.write("#explore-find", "concept 1")
    found = "return [...document.querySelectorAll('.list tbody button')].map((one) => one.textContent)"
    browser.until("return document.querySelector('.status').textContent.startsWith('18 of 72 queries')")
    browser.until(SHOWN)
    assert set(browser.run(found)) == {"concept 1", "concept 10", "concept 11"}
    assert browser.run("return document.activeElement.id") == "explore-find"
    kept = address(browser)
    browser.open(shown, kept)
    browser.until(SHOWN)
    assert browser.run("return document.getElementById('explore-find').value") == "concept 1"
    browser.write("#explore-find", "xyz")
    browser.until("return document.querySelector('.status').textContent === 'No stimulus has this in its name.'")


def test_hard_pictures_lead_to_the_same_method_and_task_in_the_explorer(browser, shown):
    browser.open(shown)
    asked = "return document.querySelector('#h-world-broad-within tbody tr').cells[arguments[0]].textContent"
    rank = browser.run(asked, 2)
    browser.click("#h-world-broad-within tbody th a")
    browser.until(SHOWN)
    assert browser.run("return document.getElementById('explore-method').value") == "good"
    assert browser.run("return document.querySelector('#detail h3').textContent") == "concept 5"
    ranks = browser.run("return [...document.querySelectorAll('.list tbody tr')].map((row) => parseInt(row.innerText))")
    assert len(ranks) == 6
    assert float(rank) == sum(ranks) / len(ranks)
    assert browser.run("return document.getElementById('explorer').getBoundingClientRect().top < innerHeight")
    assert browser.run("return document.querySelector('.status').textContent").startswith("6 of 72 queries")


def test_a_link_is_copied_and_that_is_said(browser, shown):
    browser.open(shown, "#study=world")
    browser.until(SHOWN)
    browser.click("#explore p .plain")
    browser.until("return document.querySelector('#explore p [role=status]').textContent === ' Copied.'")


def test_a_part_of_the_queries_is_called_one(browser, shown):
    browser.open(shown, "#study=world&repetitions=1")
    browser.until(SHOWN)
    told = browser.run("return document.querySelector('.status').textContent")
    assert "This is a part" in told
    assert "not a random one" in told
    assert "at most 2 of the same stimulus" in browser.run("return document.getElementById('explorer').textContent")


def test_a_phone_shows_what_decides_and_where_to_scroll(browser, shown):
    browser.size(390, 900)
    browser.open(shown)
    wide = "return [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1)"
    assert browser.run(wide + ".length") > 0
    assert browser.run(wide + ".every((one) => one.classList.contains('wide'))")
    hint = "return getComputedStyle(document.querySelector('#contrasts .scroll'), '::before').content"
    assert "scroll" in browser.run(hint)
    right = "return document.querySelector('#contrasts td strong').getBoundingClientRect().right"
    assert browser.run(right) <= 390, "that a difference is not zero is seen at once"
    browser.size(1280, 900)
    browser.until("return !document.querySelector('#contrasts .scroll').classList.contains('wide')")


def test_what_lies_not_beside_it_is_told(browser, shown, tmp_path):
    alone = tmp_path / "page.html"
    alone.write_bytes(shown.read_bytes())
    browser.open(alone, "#study=world")
    browser.until("return document.querySelector('.status').textContent.includes('is not beside this page')")
    assert all("ERR_FILE_NOT_FOUND" in one for one in browser.complaints())


def test_hidden_pictures_leave_names(browser, world, tmp_path):
    hidden = page_world.again(world, tmp_path, pictures="hide")
    page.run(hidden)
    browser.open(hidden.output("page.html"), "#study=world")
    browser.until(SHOWN)
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert "their names are shown instead" in browser.run("return document.querySelector('.status').textContent")
    assert browser.run("return document.querySelector('.candidates li').textContent").startswith("1. concept")


def test_text_of_a_configuration_is_text_in_the_explorer_too(browser, shown):
    browser.open(shown, "#study=world&target=s00")
    browser.until(SHOWN)
    assert browser.run("return document.querySelector('#detail h3').textContent") == HOSTILE
    assert browser.run(
        "return [...document.querySelectorAll('#explore img')].every((one) => one.src.startsWith('data:'))"
    )
    assert browser.run("return document.querySelectorAll('#explore b, #explore script').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(browser, shown, scheme, width):
    browser.scheme(scheme)
    browser.size(width, 900)
    browser.open(shown, "#study=world")
    browser.until(SHOWN)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run(CHECK) == []
    assert browser.run("return document.documentElement.scrollWidth") <= width, "nothing sticks out"


def test_the_checker_finds_what_is_wrong(browser, shown):
    browser.open(shown)
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<h5>deep</h5><button></button><img><a href=\"#none\">x</a>"
        '<input tabindex=3><p style="color: #aaa; background: #fff">pale</p><table><tr><th>x</th></tr></table>\')'
    )
    found = " ".join(browser.run(CHECK))
    told = ("skips a level", "no name: <button>", "no words for a picture", "link to nowhere: #none")
    for words in (*told, "no name: <input>", "order of Tab", "contrast 2.", "without caption", "without scope"):
        assert words in found


@pytest.mark.skipif(AXE is None, reason="needs axe-core in node_modules, which is no part of the project")
def test_axe_has_no_serious_finding(browser, shown):
    browser.open(shown, "#study=world")
    browser.until(SHOWN)
    browser.run(AXE.read_text(encoding="utf-8"))
    browser.run("window.found = null; axe.run().then((one) => { window.found = one.violations; });")
    found = browser.until("return window.found")
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_tab_reaches_everything_that_can_be_used(browser, shown):
    browser.open(shown)
    browser.press(TAB)
    assert browser.run("return document.activeElement.textContent") == "To the results"
    browser.run(
        "window.reached = new Set(); document.addEventListener('focusin', (one) => window.reached.add(one.target))"
    )
    browser.press(TAB, 150)
    missed = browser.run(
        "return [...document.querySelectorAll('nav a, #methods :is(th button, summary, .scroll, a)')]"
        ".filter((one) => one.checkVisibility() && !window.reached.has(one)).map((one) => one.textContent)"
    )
    assert missed == []


def test_paper_has_everything_but_the_explorer(browser, shown):
    browser.open(shown)
    browser.command("Emulation.setEmulatedMedia", media="print")
    try:
        gone = "return getComputedStyle(document.querySelector(arguments[0])).display === 'none'"
        assert [browser.run(gone, name) for name in ("nav", "#explore", ".paper", "#methods")] == [
            True,
            True,
            False,
            False,
        ]
    finally:
        browser.command("Emulation.setEmulatedMedia", media="")
