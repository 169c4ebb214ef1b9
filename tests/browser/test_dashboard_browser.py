"""The dashboard in a real browser: reading, typing, waiting for results, and trying to break out."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dashboards import FOREVER, running
from given import NOW, model, score, wanted

from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table
from queries.dashboard.opening import opened_in_browser
from queries.dashboard.serving import DashboardServer
from queries.dashboard.sql_process import BOX_LIMITS

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `test`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed"),
]

HOSTILE = "<img src=x onerror=window.pwned=1>"
MODELS = {"good_net": 0.76, "plain_net": 0.72, "small_net": 0.70, HOSTILE: 0.68}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Four models on three datasets, and one result that is wanted and not there yet."""
    store = FeatureStore.create(str(tmp_path_factory.mktemp("browser") / "store"))
    rows = [
        score(name, dataset, 0.9 - 0.08 * i + 0.02 * j + 0.005 * (i * j % 3))
        for i, name in enumerate(MODELS)
        for j, dataset in enumerate(("digits", "pets", HOSTILE))
    ]
    store.publish("models", "m", rows_table("models", [model(name, top1) for name, top1 in MODELS.items()]))
    store.publish("results", "r", rows_table("results", rows))
    cells = [wanted(row["model"], row["dataset"]) for row in rows] + [wanted("late_net", "digits")]
    store.publish("cells", "s", rows_table("cells", cells))
    failure = {"study": "s", "stage": "model", "model": HOSTILE, "error": "Error", "message": HOSTILE, "failed_at": NOW}
    store.publish("failures", "f", rows_table("failures", [failure]))
    return store


@pytest.fixture(scope="module")
def server(store: FeatureStore) -> Iterator[DashboardServer]:
    limits = replace(BOX_LIMITS, seconds=2, memory_bytes=3 * 10**8)
    with running(DashboardServer(store, limits=limits, leisure=0.5)) as server:
        yield server


@dataclass
class Elsewhere:
    """Another server of this machine, whose page allows scripts everything, and what it was asked for."""

    port: int
    asked: list[str]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><h1>Elsewhere</h1>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Elsewhere(server.server_port, asked)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(server: DashboardServer) -> Iterator[sync_api.Browser]:
    """Chromium, for which a foreign name points to this machine, as after a DNS rebinding."""
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP attacker.example 127.0.0.1"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: sync_api.Browser, server: DashboardServer) -> Iterator[sync_api.BrowserContext]:
    """Somebody who opened the printed address."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    sync_api.expect.set_options(timeout=60_000)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#live-report h1")
    assert page.url == f"http://{urlsplit(server.url).netloc}/", "the token is not left in the address"
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(context: sync_api.BrowserContext, server: DashboardServer) -> Iterator[sync_api.Page]:
    """The page, on which no error may happen, no script of a name may run and nothing may stick out."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"http://{urlsplit(server.url).netloc}/")
    page.wait_for_selector("#live-report h1")
    yield page
    assert errors == []
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.close()


def open_box(page: sync_api.Page) -> None:
    page.click("#live-sql-button")
    page.wait_for_selector("#live-question option:nth-child(1)", state="attached")


def run(page: sync_api.Page, sql: str) -> None:
    """Type SQL, click Run and wait for what comes."""
    page.fill("#live-text", sql)
    page.click("#live-run")
    page.wait_for_selector("#live-run:not([disabled])")


def answer(page: sync_api.Page) -> list[list[str]]:
    """The table as it stands in the page; its first row is the head."""
    rows: list[list[str]] = page.eval_on_selector_all(
        "#live-answer tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return rows


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_screen_says_which_model_to_use(page: sync_api.Page, width: int, height: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    said = page.locator("#live-report").get_by_text("good_net").first
    box = said.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < height
    sync_api.expect(page.locator("#live-words")).to_have_text(re.compile(r"Not running: 1\d of 13 results"))


def test_sql_is_typed_run_and_read(page: sync_api.Page) -> None:
    open_box(page)
    run(page, "select model, count(*) as n from results where dataset = 'digits' group by model order by model")
    assert answer(page) == [["model", "n"], *([name, "1"] for name in sorted(MODELS))]
    assert "4 rows in" in page.inner_text("#live-answer-words")
    run(page, "select nothing from results")
    assert "SQL:1: Binder Error" in page.inner_text("#live-mistake")
    assert page.locator("#live-answer").is_hidden()


def test_a_question_fills_the_box_and_its_parameters_and_ctrl_enter_runs_it(page: sync_api.Page) -> None:
    open_box(page)
    page.wait_for_selector("#live-question optgroup[label=comparison]", state="attached")
    page.select_option("#live-question", "leaderboard")
    assert "-- Grain: one row per model" in page.input_value("#live-text")
    page.press("#live-text", "Control+Enter")
    page.wait_for_selector("#live-answer table")
    assert answer(page)[0][0] == "rank"
    page.get_by_label("setting").fill("scratch")
    page.press("#live-parameter-setting", "Control+Enter")
    sync_api.expect(page.locator("#live-answer-words")).to_contain_text("0 rows in")


def test_an_answer_is_had_as_csv_whole(page: sync_api.Page) -> None:
    open_box(page)
    run(page, "select range as n from range(1500) order by n")
    assert "1,500 rows in" in page.inner_text("#live-answer-words")
    assert "the first 1,000 are shown" in page.inner_text("#live-answer-words")
    assert len(answer(page)) == 1001
    with page.expect_download() as waiting:
        page.click("#live-csv")
    assert Path(waiting.value.path()).read_text().splitlines() == ["n", *map(str, range(1500))]
    assert waiting.value.suggested_filename == "answer.csv"


def test_a_query_is_cancelled(page: sync_api.Page) -> None:
    open_box(page)
    run(page, "select 1")
    page.fill("#live-text", FOREVER)
    page.click("#live-run")
    page.click("#live-cancel")
    sync_api.expect(page.locator("#live-mistake")).to_have_text("You cancelled the query.")
    run(page, "select 1 as again")
    assert answer(page) == [["again"], ["1"]]


BREAK_OUTS = {
    "select * from read_csv('/etc/passwd')": "not available here",
    "select * from read_text('/etc/passwd')": "not available here",
    "from '/etc/passwd'": "Table with name /etc/passwd does not exist",
    "from '/etc/hosts.csv'": "Permission Error: Cannot access file",
    "from read_parquet('/etc/passwd')": "Permission Error: Cannot access file",
    "from read_parquet('{elsewhere}/a.parquet')": "Permission Error: Cannot access file",
    "from '{elsewhere}/a.csv'": "Permission Error: Cannot access file",
    "from read_csv('{elsewhere}/a.csv')": "not available here",
    "install httpfs from '{elsewhere}'": "must be one SELECT",
    "from glob('/**')": "not available here",
    "copy (select 1) to '/tmp/probestore-break-out.csv'": "must be one SELECT",
    "copy results to '/tmp/probestore-break-out.csv'": "must be one SELECT",
    "attach '/tmp/probestore-break-out.db'": "must be one SELECT",
    "install httpfs": "must be one SELECT",
    "load httpfs": "must be one SELECT",
    "pragma database_list": "must be one SELECT",
    "set enable_external_access = true": "must be one SELECT",
    "select 1; set lock_configuration = false": "must be one SELECT",
    "select getenv('HOME')": "getenv does not exist",
    "select * from enable_logging(storage_path = '/tmp/probestore-break-out')": "not available here",
    "from duckdb_secrets()": "not available here",
    "from query('select * from enable_logging()')": "not available here",
    "drop table results": "must be one SELECT",
    FOREVER: "stopped after 2 seconds, the time limit here",
    "select string_agg(repeat('x', 1000000), '') from range(1000000)": "more than 0.3 GB of memory, the limit here",
    "select range, repeat('x', 1000) from range(1000000000000)": "larger than 100 MB, the limit here",
}


def test_the_box_lets_nothing_out_and_stays_usable(
    page: sync_api.Page, store: FeatureStore, elsewhere: Elsewhere
) -> None:
    before = {path: path.read_bytes() for path in Path(store.uri).rglob("*") if path.is_file()}
    asked_before = list(elsewhere.asked)
    open_box(page)
    for sql, said in BREAK_OUTS.items():
        run(page, sql.replace("{elsewhere}", f"http://127.0.0.1:{elsewhere.port}"))
        assert said in page.inner_text("#live-mistake"), sql
        assert "root:" not in page.content(), sql
    run(page, "select count(*) > 0 as there from results")
    assert answer(page) == [["there"], ["yes"]]
    assert {path: path.read_bytes() for path in Path(store.uri).rglob("*") if path.is_file()} == before
    assert not list(Path("/tmp").glob("probestore-break-out*"))
    assert elsewhere.asked == asked_before, "the box reached a server"


def test_names_that_are_markup_stay_text(page: sync_api.Page) -> None:
    """In the report and the progress, which come as HTML, and in answers; the fixture looks what they did."""
    assert page.locator("#live-report").get_by_text(HOSTILE).count() > 0
    page.click("#live-progress-button")
    assert page.locator("#live-progress").get_by_text(HOSTILE).count() > 0
    open_box(page)
    run(page, f"select '{HOSTILE}' as \"{HOSTILE}\", '</table><script>window.pwned=1</script>' as script")
    assert answer(page) == [[HOSTILE, "script"], [HOSTILE, "</table><script>window.pwned=1</script>"]]
    assert page.locator("img[src=x]").count() == 0


def test_markup_that_got_in_would_not_run(context: sync_api.BrowserContext, server: DashboardServer) -> None:
    """The second fence, behind the escaping: the page allows no script but its own."""
    page = context.new_page()
    page.goto(f"http://{urlsplit(server.url).netloc}/")
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", HOSTILE)
    assert page.evaluate("window.pwned") is None
    page.close()


def test_the_keyboard_is_enough(page: sync_api.Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "live-progress-button"
    page.keyboard.press("Enter")
    assert page.get_attribute("#live-progress-button", "aria-expanded") == "true"
    sync_api.expect(page.locator("#live-progress")).to_contain_text("late_net")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "live-text"
    page.keyboard.press("Control+A")
    page.keyboard.type("select 42 as answer")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#live-answer table")
    assert answer(page) == [["answer"], ["42"]]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "live-sql-button"


def test_a_new_result_appears_while_the_page_is_open(page: sync_api.Page, store: FeatureStore) -> None:
    page.click("#live-progress-button")
    row = score("late_net", "digits", 0.987, created_at=datetime.now(UTC))
    store.publish("results", "late", rows_table("results", [row]))
    sync_api.expect(page.locator("#live-progress")).to_contain_text("0.987")
    sync_api.expect(page.locator("#live-report")).to_contain_text("late_net")
    sync_api.expect(page.locator("#live-said")).to_have_text("The report shows new results.")
    sync_api.expect(page.locator("#live-words")).to_have_text(re.compile("1[0-3] of 13 results"))
    open_box(page)
    run(page, "select value from results where model = 'late_net'")
    assert answer(page) == [["value"], ["0.987"]]


def test_whoever_is_reading_is_asked_before_the_report_changes(page: sync_api.Page, store: FeatureStore) -> None:
    page.focus("#live-report nav a")
    row = score("later_net", "digits", 0.5, created_at=datetime.now(UTC))
    store.publish("results", "later", rows_table("results", [row]))
    page.wait_for_selector("#live-new:not([hidden])")
    assert "later_net" not in page.inner_text("#live-report")
    page.click("#live-new")
    sync_api.expect(page.locator("#live-report")).to_contain_text("later_net")
    assert page.locator("#live-new").is_hidden()


def test_a_dashboard_that_is_gone_is_said_and_found_again(
    context: sync_api.BrowserContext, page: sync_api.Page
) -> None:
    context.set_offline(True)
    sync_api.expect(page.locator("#live-problem")).to_contain_text("The dashboard does not answer.")
    context.set_offline(False)
    sync_api.expect(page.locator("#live-problem")).to_be_hidden()


def test_nobody_else_gets_in(
    browser: sync_api.Browser, context: sync_api.BrowserContext, server: DashboardServer
) -> None:
    address = urlsplit(server.url)
    stranger = browser.new_page()
    for url in (
        f"http://{address.netloc}/",
        f"http://{address.netloc}/?token=guess",
        f"http://attacker.example:{address.port}/?{address.query}",
    ):
        reply = stranger.goto(url)
        assert reply is not None
        assert (reply.status, "good_net" in stranger.content()) == (403, False), url
    stranger.close()


@pytest.mark.parametrize("name", ["attacker.example", "127.0.0.1"])
def test_a_page_from_elsewhere_can_cancel_and_read_nothing(
    context: sync_api.BrowserContext, page: sync_api.Page, server: DashboardServer, elsewhere: Elsewhere, name: str
) -> None:
    """Of another name, and of another port of this one, for which the browser sends the cookie."""
    attacker = context.new_page()
    attacker.goto(f"http://{name}:{elsewhere.port}/")
    assert attacker.inner_text("h1") == "Elsewhere"
    open_box(page)
    run(page, "select 1")
    page.fill("#live-text", FOREVER)
    page.click("#live-run")
    own = f"http://{urlsplit(server.url).netloc}"
    post = "url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'}).then(() => 1, () => 0)"
    attacker.evaluate(post, f"{own}/cancel")
    sync_api.expect(page.locator("#live-mistake")).to_contain_text("stopped after 2 seconds")
    for mode in ("cors", "no-cors"):
        read = "([url, mode]) => fetch(url, {mode, credentials: 'include'}).then(r => r.text(), () => '')"
        assert attacker.evaluate(read, [f"{own}/report", mode]) == ""
    attacker.close()


def test_the_file_that_the_browser_is_opened_with_leads_to_the_report(
    browser: sync_api.Browser, server: DashboardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)  # Chromium opens it here, as it would
    page = browser.new_page()
    with opened_in_browser(server.url):
        page.goto(opened[0])
        page.wait_for_selector("#live-report h1")
    assert page.url == f"http://{urlsplit(server.url).netloc}/"
    page.close()
