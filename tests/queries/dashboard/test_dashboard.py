"""The dashboard: whom it lets in, what it shows while a store grows, and SQL that can do no harm."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dashboards import FOREVER, running
from given import Given, cell, score, wanted

from featurestore import FeatureStore
from featurestore.errors import ConfigurationError, QueryError
from featurestore.store.feature_store import rows_table
from queries.dashboard.live_page import LivePage, Shown
from queries.dashboard.run_progress import read_progress
from queries.dashboard.serving import DashboardServer
from queries.dashboard.sql_process import BOX_LIMITS, BusyError, SqlProcess

UNHEEDING = "select levenshtein(repeat('a', 3000000), repeat('a', 3000000) || 'b')"  # one step that takes hours


@dataclass
class Client:
    """Sends requests to a dashboard with the headers that a test wants, and follows nothing."""

    host: str
    token: str
    cookie: str = ""

    def ask(self, path: str, body: object = None, method: str | None = None, **headers: str) -> tuple[int, str, Any]:
        """(status, text, headers)"""
        sent = {"Host": self.host, "Cookie": self.cookie}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", int(self.host.split(":")[1]), timeout=60)
        content = body if isinstance(body, str | None) else json.dumps(body)
        connection.request(method or ("POST" if body is not None else "GET"), path, content, sent)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, text, reply.headers

    def sql(self, text: str, **parameters: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.ask("/sql", {"sql": text, "parameters": parameters})[1])
        return answer


def client_of(server: DashboardServer) -> Client:
    address = urlsplit(server.url)
    client = Client(address.netloc, address.query.removeprefix("token="))
    client.cookie = client.ask(f"/?token={client.token}")[2]["Set-Cookie"].split(";")[0]
    return client


@contextmanager
def running_forever(client: Client) -> Iterator[list[dict[str, Any]]]:
    """Let a query run that does not end by itself; what it is answered is in the list at the end."""
    answers: list[dict[str, Any]] = []

    def run() -> None:
        while "Another query is running" in (answer := client.sql(FOREVER))["error"]:
            time.sleep(0.01)
        answers.append(answer)

    client.sql("select 1")
    thread = threading.Thread(target=run)
    thread.start()
    while client.ask("/sql", {"sql": "select 1"})[0] != 409:
        time.sleep(0.05)
    yield answers
    thread.join()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Somebody with the cookie of a dashboard over a store with one result; no test changes either."""
    store = FeatureStore.create(str(tmp_path_factory.mktemp("dashboard") / "store"))
    store.publish("results", "r", rows_table("results", [score("<b>net</b>", "pets", 0.9)]))
    with running(DashboardServer(store, limits=replace(BOX_LIMITS, seconds=2))) as server:
        yield client_of(server)


# ---- who is let in ----------------------------------------------------------------------------------------------


def test_the_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_have(client: Client) -> None:
    status, _, headers = client.ask(f"/?token={client.token}", Cookie="")
    assert (status, headers["Refresh"]) == (200, "0; url=/"), "a redirect from a file would not send the cookie"
    assert set(headers["Set-Cookie"].split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=strict"}
    assert client.token not in headers["Set-Cookie"]
    assert client.ask("/")[0] == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    {
        "no token": ("/", {"Cookie": ""}),
        "an empty token": ("/?token=", {"Cookie": ""}),
        "a wrong token": ("/?token=guess", {"Cookie": ""}),
        "a token of other letters": ("/?token=%C3%A4", {"Cookie": ""}),
        "a wrong cookie": ("/live", {"Cookie": "probestore=guess"}),
        "a name that was made to point here": ("/", {"Host": "attacker.example"}),
        "such a name with the right port": ("/live", {"Host": "127.0.0.1.attacker.example:80"}),
        "a name that is none": ("/live", {"Host": "[::1"}),
        "a page of another site": ("/live", {"Origin": "https://attacker.example"}),
        "a page of another port of this machine": ("/live", {"Origin": "http://127.0.0.1:1"}),
        "a page without an origin": ("/live", {"Origin": "null"}),
        "a script of another site": ("/live", {"Sec-Fetch-Site": "cross-site"}),
        "a script of another port": ("/report", {"Sec-Fetch-Site": "same-site"}),
    }.values(),
)
def test_who_must_not_come_in_is_refused(client: Client, path: str, headers: dict[str, str]) -> None:
    status, text, sent = client.ask(path, **headers)
    assert (status, "pets" in text, sent["Set-Cookie"]) == (403, False, None)


def test_a_foreign_name_is_refused_with_the_token_too(client: Client) -> None:
    assert client.ask(f"/?token={client.token}", Host="attacker.example")[0] == 403


def test_a_tunnel_from_another_port_is_let_in(client: Client) -> None:
    assert client.ask("/live", Host="localhost:9000", Origin="http://localhost:9000")[0] == 200


@pytest.mark.parametrize("path", ["/", "/live", "/report", "/questions", "/nowhere", "/answers/x.csv"])
@pytest.mark.parametrize("cookie", [True, False])
def test_every_answer_says_what_may_be_loaded_and_is_not_kept(client: Client, path: str, cookie: bool) -> None:
    headers = client.ask(path, **({} if cookie else {"Cookie": ""}))[2]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] is None


def test_scripts_and_styles_carry_a_word_that_is_said_once(client: Client) -> None:
    words = set()
    for _ in range(2):
        _, page, headers = client.ask("/")
        (word,) = set(re.findall(r"'nonce-([^']+)'", headers["Content-Security-Policy"]))
        assert re.findall(r'<(?:script|style) nonce="([^"]+)">', page) == [word, word]
        assert len(re.findall(r"<(?:script|style)", page)) == 2
        words.add(word)
    assert len(words) == 2


def test_only_the_loopback_address_answers(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.2", int(client.host.split(":")[1]), timeout=5)
    with pytest.raises(ConnectionRefusedError):
        connection.connect()


def test_a_port_that_is_taken_is_a_message(client: Client, store: FeatureStore) -> None:
    port = int(client.host.split(":")[1])
    with pytest.raises(ConfigurationError, match=f"Port {port} of this machine cannot be used .* --port 0"):
        DashboardServer(store, port=port)


# ---- SQL --------------------------------------------------------------------------------------------------------


def test_sql_is_answered_as_text_for_people(client: Client) -> None:
    answer = client.sql(
        "select model, value, null as nothing, range(30) as many, repeat('x', 600) as long from results"
    )
    assert [(column["name"], column["number"]) for column in answer["columns"][:3]] == [
        ("model", False),
        ("value", True),
        ("nothing", True),
    ]
    ((model, value, nothing, many, long),) = answer["rows"]
    assert (model, value, nothing) == ("<b>net</b>", "0.9", "-")
    assert many.endswith("19, ... (30 values)")
    assert long.endswith("x ... (600 characters)")


def test_the_page_gets_the_first_rows_and_the_file_all(client: Client) -> None:
    answer = client.sql("select range as n from range(2500) order by n")
    assert (answer["n_rows"], len(answer["rows"]), answer["rows"][-1]) == (2500, 1000, ["999"])
    status, text, headers = client.ask(f"/answers/{answer['name']}.csv")
    assert (status, text.splitlines()) == (200, ["n", *map(str, range(2500))])
    assert headers["Content-Disposition"] == 'attachment; filename="answer.csv"'


def test_only_the_last_answers_are_kept(client: Client) -> None:
    names = [client.sql(f"select {i} as i")["name"] for i in range(4)]
    assert [client.ask(f"/answers/{name}.csv")[0] for name in names] == [404, 200, 200, 200]


def test_every_question_is_offered_and_runs_with_its_parameters(client: Client) -> None:
    offered = {question["name"]: question for question in json.loads(client.ask("/questions")[1])}
    board = offered["leaderboard"]
    assert board["topic"] == "comparison"
    assert {"name": "setting", "default": "'fixed'", "meaning": "fixed, finetuned or scratch"} in board["parameters"]
    assert client.sql(board["sql"])["n_rows"] == 1
    assert client.sql(board["sql"], setting="scratch")["n_rows"] == 0
    assert "no parameter 'seting'. Did you mean 'setting'" in client.sql(board["sql"], seting="x")["error"]


def test_a_mistake_is_a_message_with_its_line(client: Client) -> None:
    status, text, _ = client.ask("/sql", {"sql": "select 1,\n  nothing\nfrom results"})
    assert (status, "SQL:2: Binder Error" in json.loads(text)["error"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        ("{", {}, "is not JSON"),
        ("[" * 199_000, {}, "is not JSON"),
        ("[]", {}, "must be an object"),
        ('{"sql": 1}', {}, "must be an object"),
        ('{"sql": "select 1", "parameters": []}', {}, "must be an object"),
        ('{"sql": "select 1"}', {"Content-Type": "text/plain"}, "content type application/json"),
        ('{"sql": "' + " " * 200_000 + 'select 1"}', {}, "shorter than 200000 bytes"),
    ],
)
def test_a_request_that_no_page_of_ours_sends_is_refused(
    client: Client, body: str, headers: dict[str, str], message: str
) -> None:
    status, text, _ = client.ask("/sql", body, **headers)
    assert (status, message in json.loads(text)["error"]) == (400, True)


def test_a_request_to_change_something_by_a_link_is_refused(client: Client) -> None:
    assert client.ask("/sql")[0] == 405
    assert client.ask("/cancel")[0] == 405


@pytest.mark.slow
def test_no_other_page_can_ask_or_cancel(client: Client) -> None:
    """With the cookie, which a browser sends for a page of another port too."""
    with running_forever(client) as answers:
        for headers in (
            {"Origin": "https://attacker.example"},
            {"Origin": "http://127.0.0.1:1"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Host": "attacker.example"},
        ):
            assert client.ask("/sql", {"sql": "select 1"}, **headers)[0] == 403, headers
            assert client.ask("/cancel", method="POST", **headers)[0] == 403, headers
    assert "stopped after 2 seconds" in answers[0]["error"]
    with running_forever(client) as answers:
        assert client.ask("/cancel", method="POST", Origin=f"http://{client.host}")[0] == 204
    assert answers == [{"error": "You cancelled the query."}]


def test_a_time_that_python_has_not_is_shown(client: Client) -> None:
    answer = client.sql("select 'infinity'::timestamp as time, date '290000-01-01' as day")
    assert answer["rows"] == [["infinity", "290000-01-01"]]
    assert client.ask(f"/answers/{answer['name']}.csv")[1].splitlines()[1] == "infinity,290000-01-01"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqlProcess, FeatureStore]]:
    """A process for SQL with narrow limits, and its store."""
    store = FeatureStore.create(str(tmp_path_factory.mktemp("box") / "store"))
    box = SqlProcess(store.uri, {}, replace(BOX_LIMITS, seconds=1, memory_bytes=2 * 10**8))
    box.warm_up()
    yield box, store
    box.close()


@pytest.mark.slow
def test_the_box_shows_what_the_report_shows(box: tuple[SqlProcess, FeatureStore]) -> None:
    sql, store = box
    count = "select count(*) as n from results"
    assert sql.run(count, {}, version=1).table.to_pylist() == [{"n": 0}]
    store.publish("results", "r", rows_table("results", [score("net", "pets", 0.9)]))
    assert sql.run(count, {}, version=1).table.to_pylist() == [{"n": 0}]
    assert sql.run(count, {}, version=2).table.to_pylist() == [{"n": 1}]


@pytest.mark.slow
def test_one_query_at_a_time_and_it_can_be_cancelled(box: tuple[SqlProcess, FeatureStore]) -> None:
    sql, _ = box
    said: list[str] = []

    def run() -> None:
        try:
            sql.run(UNHEEDING, {})
        except QueryError as error:
            said.append(str(error))

    sql.run("select 1", {})
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.2)
    with pytest.raises(BusyError, match="cancel it"):
        sql.run("select 2", {})
    sql.cancel()
    thread.join()
    assert said == ["You cancelled the query."]
    assert sql.run("select 3 as n", {}).table.to_pylist() == [{"n": 3}]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (FOREVER, "stopped after 1 seconds, the time limit here"),
        (UNHEEDING, "took longer than 1 seconds, the time limit here"),
        (
            "select length(repeat('x', 3000000000)) from range(2)",
            "needs more than 0.2 GB of memory, the limit here|Most likely it needed more",
        ),
    ],
    ids=["time", "time, in one step", "memory, in one step"],
)
@pytest.mark.slow
def test_a_query_that_takes_too_much_is_ended_and_the_next_one_runs(
    box: tuple[SqlProcess, FeatureStore], query: str, said: str
) -> None:
    sql, _ = box
    with pytest.raises(QueryError, match=said):
        sql.run(query, {})
    assert sql.run("select 1 as n", {}).table.num_rows == 1


@pytest.mark.slow
def test_sql_that_python_cannot_check_is_a_message_and_the_process_stays(
    box: tuple[SqlProcess, FeatureStore],
) -> None:
    sql, _ = box
    for text, parameters, said in (
        (f"select {'+'.join(['1'] * 900)}", {}, "nested too deeply"),
        ("select '\ud800'", {}, "whole characters"),
        ("select $a", {"a": "\ud800"}, "whole characters"),
    ):
        with pytest.raises(QueryError, match=said):
            sql.run(text, parameters)


def test_what_nobody_thought_of_is_a_message_too() -> None:
    """Here an address that its driver cannot read and says so with a ValueError."""
    sql = SqlProcess("data://x", {})
    try:
        with pytest.raises(QueryError, match="not enough values to unpack"):
            sql.run("select 1", {})
    finally:
        sql.close()


# ---- live -------------------------------------------------------------------------------------------------------


def until(page: LivePage, condition: Callable[[Shown], bool]) -> Shown:
    """What is shown, between two checks, as soon as it is so."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        shown = page.look()
        if not shown.checking and condition(shown):
            return shown
        time.sleep(0.05)
    raise AssertionError(shown)


@pytest.mark.slow
def test_the_page_follows_the_store_and_keeps_what_it_had_when_it_cannot(store: FeatureStore) -> None:
    store.publish("cells", "s", rows_table("cells", [wanted("net", "pets", study="s")]))
    page = LivePage(store, leisure=0.1)
    until(page, lambda shown: shown.version == 1)
    now = datetime.now(UTC)
    row = {"study": "s", "stage": "probes", "model": "net", "tap": "penultimate", "dataset": "pets"}
    store.publish("progress", "s", rows_table("progress", [row | {"wanted": 4, "done": 1, "updated_at": now}]))
    shown = until(page, lambda shown: shown.progress.updated_at == now)
    assert shown.version == 1, "progress is not in the report"
    store.publish("results", "r", rows_table("results", [score("net", "pets", 0.9)]))
    first = until(page, lambda shown: shown.version == 2)
    assert "net" in first.report
    broken = Path(store.uri, "results", "broken.parquet")
    broken.write_bytes(b"no Parquet")
    shown = until(page, lambda shown: shown.problem != "")
    assert (broken.name in shown.problem, shown.report) == (True, first.report)
    broken.unlink()
    assert until(page, lambda shown: not shown.problem) == first


@pytest.mark.slow
def test_what_is_wrong_with_the_report_is_said_until_there_is_one(store: FeatureStore) -> None:
    page = LivePage(store, leisure=0.1)
    first = until(page, lambda shown: shown.version == 1)
    broken = Path(store.uri, "predictions", "broken.parquet")
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(b"no Parquet")  # the store can be opened, only some questions read it
    for _ in range(20):  # many checks that find nothing new, or that the report is not due yet
        shown = until(page, lambda shown: shown.problem != "")
        assert (broken.name in page.look().problem, shown.report) == (True, first.report)
        time.sleep(0.05)
    broken.unlink()
    assert until(page, lambda shown: not shown.problem) == first, "what is shown is what there is again"
    broken.write_bytes(b"no Parquet")
    store.publish("results", "r", rows_table("results", [score("net", "pets", 0.9)]))
    until(page, lambda shown: shown.problem != "")
    broken.unlink()
    assert "net" in until(page, lambda shown: not shown.problem).report


def test_progress_counts_cells_stages_and_what_came_last(given: Given) -> None:
    now = datetime.now(UTC)
    row = {"study": "s", "model": "a", "tap": "penultimate", "dataset": "d0", "updated_at": now - timedelta(seconds=20)}
    features = row | {"stage": "features", "wanted": 8, "done": 8}
    failure = {
        "study": "s",
        "stage": "probe",
        "model": "b",
        "dataset": "d0",
        "cell": cell("b", "d0")["cell"],
        "error": "E",
    }
    database = given(
        cells=[wanted("a", "d0"), wanted("a", "d1"), wanted("b", "d0"), wanted("b", "d1")],
        results=[score("a", "d0", 0.9, created_at=now), score("a", "d1", 0.8, created_at=now - timedelta(minutes=1))],
        failures=[failure | {"message": "m", "failed_at": now}],
        progress=[
            features | {"split": "train", "images_per_second": 10.0},
            row | {"stage": "probes", "wanted": 4, "done": 2},
        ],
    )
    progress = read_progress(database)
    assert progress.cells == {"done": 2, "failed": 1, "missing": 1}
    assert progress.pairs["b", "d0"] == {"failed": 1}
    assert [(stage["stage"], stage["done"], stage["wanted"]) for stage in progress.stages] == [
        ("features", 8, 8),
        ("probes", 2, 4),
    ]
    assert [row["dataset"] for row in progress.latest] == ["d0", "d1"]
    assert progress.in_words(now) == "Running: 2 of 4 results, 1 failed, 0.4 a minute"
    assert progress.in_words(now + timedelta(hours=1)) == "Not running: 2 of 4 results, 1 failed"


def test_a_store_of_no_study_has_no_progress(given: Given) -> None:
    progress = read_progress(given(results=[score("a", "d0", 0.9)]))
    assert progress.in_words(datetime.now(UTC)) == "No study has been run in this store."
    done = read_progress(given(results=[score("a", "d0", 0.9)], cells=[wanted("a", "d0")]))
    assert done.in_words(datetime.now(UTC)) == "Complete: 1 of 1 results"


# ---- the command ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_command_prints_the_address_and_ends_with_a_signal(store: FeatureStore, number: int, code: int) -> None:
    """Also while a query runs, which is ended with it."""
    command = [Path(sys.executable).parent / "probestore", "dashboard", "--store", store.uri]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = urlsplit(process.stdout.readline().strip())
    client = Client(address.netloc, address.query.removeprefix("token="))
    assert (address.hostname, client.ask("/")[0]) == ("127.0.0.1", 403)
    client.cookie = client.ask(f"/?{address.query}")[2]["Set-Cookie"].split(";")[0]
    with running_forever(client) as answers:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert answers == [{"error": "You cancelled the query."}]
    assert (process.returncode, out, "Traceback" in err, client.token in err) == (code, "", False, False), err


def test_the_browser_gets_the_token_from_a_file_that_only_its_owner_can_read(
    store: FeatureStore, tmp_path: Path
) -> None:
    """Everybody on the machine can read the command line of a browser."""
    browser = tmp_path / "browser"
    browser.write_text(f"#!{sys.executable}\n" + _BROWSER)
    browser.chmod(0o700)
    command = [Path(sys.executable).parent / "probestore", "dashboard", "--store", store.uri, "--open"]
    environment = os.environ | {"BROWSER": str(browser), "SEEN": str(tmp_path / "seen")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    address = urlsplit(process.stdout.readline().strip())
    client = Client(address.netloc, "")
    client.ask("/live")  # answered when the server runs, and so after the browser was started
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    named, mode, content = (tmp_path / "seen").read_text().split(maxsplit=2)
    opened = urlsplit(named)
    assert (opened.scheme, opened.query, mode) == ("file", "", "0o600")
    assert address.query in content
    assert not Path(opened.path).exists()


_BROWSER = """
import os, sys, urllib.parse
path = urllib.parse.urlsplit(sys.argv[1]).path
with open(os.environ["SEEN"], "w") as seen:
    print(sys.argv[1], oct(os.stat(path).st_mode & 0o777), open(path).read(), sep="\\n", file=seen)
"""


def test_there_must_be_a_store(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "probestore", "dashboard", "--store", tmp_path / "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "There is no store" in done.stderr) == (2, True)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
@pytest.mark.slow
def test_without_the_extra_the_command_says_what_to_install(package: str) -> None:
    command = [sys.executable, "-c", _WITHOUT_A_PACKAGE, package, "dashboard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    message = f"needs the package {package}, which is not installed. Run: pip install 'probestore[dashboard]'"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"Error: The dashboard {message}\n")


_WITHOUT_A_PACKAGE = """
import sys

class Hidden:
    package = sys.argv.pop(1)

    def find_spec(self, name, path, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from cluster.cli import main
main()
"""
