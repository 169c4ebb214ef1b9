"""The web app of the dashboard: its addresses and their responses."""

from __future__ import annotations

import io
import json
import secrets
from collections import OrderedDict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from featurestore.errors import QueryError
from featurestore.plain_text import visible
from queries.asking import formats, questions
from queries.dashboard.guard import NONCE, Guard
from queries.dashboard.live_page import LivePage
from queries.dashboard.sql_process import BoxAnswer, BusyError, SqlProcess
from queries.report import style
from queries.report.page import shown

SHOWN_ROWS = 1_000
"""Rows of an answer that the page shows; the CSV file has all of them."""

_MOST_REQUEST_BYTES = 200_000
_KEPT_ANSWERS = 3
_SHOWN_ITEMS = 20  # of a list
_SHOWN_LETTERS = 500  # of a cell

_FOLDER = Path(__file__).parent


class Dashboard:
    """The web app, over one store.

    Parameters
    ----------
    page : LivePage
    sql : SqlProcess
    uri : str
        Where the store is; the page shows it.
    """

    def __init__(self, page: LivePage, sql: SqlProcess, uri: str) -> None:
        self._page = page
        self._sql = sql
        self._uri = uri
        self._answers: OrderedDict[str, pa.Table] = OrderedDict()

    def app(self, *, token: str, cookie: str) -> ASGIApp:
        """Return the application behind its guard.

        Parameters
        ----------
        token, cookie : str
            As `guard.Guard` takes them.
        """
        routes = [
            Route("/", self._whole_page),
            Route("/live", self._live),
            Route("/report", self._report),
            Route("/questions", self._questions),
            Route("/sql", self._run, methods=["POST"]),
            Route("/cancel", self._cancel, methods=["POST"]),
            Route("/answers/{name}.csv", self._csv),
        ]
        return Guard(Starlette(routes=routes), token=token, cookie=cookie)

    def _whole_page(self, request: Request) -> Response:
        shown = self._page.look()
        html = _template("dashboard.html.jinja").render(
            nonce=request.scope[NONCE],
            store=self._uri,
            shown=shown,
            report=Markup(shown.report),
            styles=Markup(style() + _text("dashboard.css")),
            script=Markup(_text("dashboard.js")),
        )
        return HTMLResponse(html)

    def _live(self, _: Request) -> Response:
        shown, now = self._page.look(), datetime.now(UTC)
        progress = shown.progress
        return JSONResponse(
            {
                "version": shown.version,
                "checking": shown.checking,
                "problem": shown.problem,
                "words": progress.in_words(now),
                "running": progress.is_running(now),
                "done": progress.cells.get("done", 0),
                "wanted": progress.wanted,
                "progress": _template("progress.html.jinja").render(progress=progress, now=now),
            }
        )

    def _report(self, _: Request) -> Response:
        return HTMLResponse(self._page.look().report)

    def _questions(self, _: Request) -> Response:
        self._sql.warm_up()  # whoever asks for them has opened the box
        return JSONResponse(_listed_questions())

    async def _run(self, request: Request) -> Response:
        try:
            text, parameters = _sql_and_parameters(await _body(request))
            version = self._page.look().version
            answer = await run_in_threadpool(self._sql.run, text, parameters, version=version)
        except BusyError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        except QueryError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(await run_in_threadpool(self._shown_answer, answer))

    def _shown_answer(self, answer: BoxAnswer) -> dict[str, Any]:
        name, table = secrets.token_urlsafe(8), answer.table
        self._answers[name] = table
        while len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return {
            "name": name,
            "columns": [{"name": field.name, "number": formats.is_number(field)} for field in table.schema],
            "rows": [[_cell(value) for value in row] for row in formats.rows(table.slice(0, SHOWN_ROWS))],
            "n_rows": table.num_rows,
            "seconds": answer.seconds,
        }

    def _cancel(self, _: Request) -> Response:
        self._sql.cancel()
        return Response(status_code=204)

    def _csv(self, request: Request) -> Response:
        answer = self._answers.get(request.path_params["name"])
        if answer is None:
            return PlainTextResponse(
                "The dashboard no longer keeps this answer. Run the query again.\n", status_code=404
            )
        stream = io.StringIO()
        formats.write(answer, "csv", stream)
        headers = {"content-disposition": 'attachment; filename="answer.csv"'}
        return Response(stream.getvalue(), media_type="text/csv", headers=headers)


async def _body(request: Request) -> bytes:
    """Return the body of a request that is JSON, which no form of another page can send."""
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise QueryError("The request must have the content type application/json.")
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MOST_REQUEST_BYTES:
            raise QueryError(f"The SQL must be shorter than {_MOST_REQUEST_BYTES} bytes.")
    return content


def _sql_and_parameters(body: bytes) -> tuple[str, dict[str, str]]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:  # the latter of brackets in brackets
        raise QueryError(f"The request is not JSON: {error}.") from error
    text = asked.get("sql") if isinstance(asked, dict) else None
    parameters = asked.get("parameters", {}) if isinstance(asked, dict) else None
    if not isinstance(text, str) or not isinstance(parameters, dict):
        raise QueryError("The request must be an object with `sql`, a text, and `parameters`, an object.")
    return text, {str(name): str(value) for name, value in parameters.items()}


@cache
def _listed_questions() -> list[dict[str, Any]]:
    return [
        {
            "name": question.name,
            "topic": question.topic,
            "text": question.text,
            "sql": question.sql,
            "parameters": [
                {"name": parameter.name, "default": parameter.default, "meaning": parameter.meaning}
                for parameter in question.parameters
            ],
        }
        for question in questions.by_topic()
    ]


def _cell(value: Any) -> str:
    if isinstance(value, list) and len(value) > _SHOWN_ITEMS:
        value = [*value[:_SHOWN_ITEMS], f"... ({len(value)} values)"]
    text = visible(formats.readable(value))
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]} ... ({len(text)} characters)"


@cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters.update(readable=formats.readable)
    return environment.get_template(name)
