"""The `probestore` command. A command only parses and calls.

Exit codes: 0 done; 1 some cells failed, the rest is stored; 2 something given cannot be used; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from featurestore.errors import ConfigurationError, ProbestoreError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.events import Reporter
    from cluster.ledger import Summary
    from cluster.runtime import Runtime
    from cluster.study import Study
    from featurestore import FeatureStore

_DEFAULT_STORE = "store"
_KINDS = ("models", "datasets", "probes", "solvers", "metrics", "backbones", "sources", "queries", "plugins")
_SHORT_LEADERBOARD = ["rank", "model", "mean_value", "mean_rank", "adjusted", "standard_error", "ties_with_best"]


class _Suggesting(click.Group):
    """A group that answers a misspelt command with the one that was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise click.UsageError(f"There is no command {args[0]!r}.{did_you_mean(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)


_store_option = click.option(
    "--store",
    "store",
    metavar="URI",
    envvar="PROBESTORE_STORE",
    show_envvar=True,
    help="Folder or s3://bucket/prefix of the store. [default: ./store]",
)


def _storage_options(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary; a text that is none is not shown, for it may hold a credential."""
    if not all("=" in text for text in texts):
        raise ConfigurationError("A --storage-option must be KEY=VALUE, such as region=eu-west-1.")
    return dict(_key_value(text) for text in texts)


_storage_option = click.option(
    "--storage-option",
    "storage_options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_storage_options,
    help="How to reach the store, e.g. endpoint=URL or region=NAME; can be repeated. The AWS variables count too.",
)
_format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "markdown", "parquet"]),
    default="table",
    show_default=True,
    help="How to write the answer.",
)
_out_option = click.option("--out", type=click.Path(path_type=Path), help="File to write to instead of the terminal.")
_address_option = click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to join: auto, host:port or ray://host:port. Without it Ray starts itself here.",
)


_study_argument = click.argument("study", type=click.Path(path_type=Path))
_study_store_option = click.option(
    "--store",
    metavar="URI",
    help="Folder or s3://bucket/prefix of the store. [default: the study's own, else PROBESTORE_STORE, else ./store]",
)
_strict_option = click.option(
    "--strict", is_flag=True, help="Stop a dataset at its first unreadable image instead of leaving it out."
)
_events_option = click.option(
    "--events", metavar="FILE", help="Append what happens to FILE, as JSON lines; - is standard output."
)
_retry_option = click.option(
    "--retry-failed",
    is_flag=True,
    help="Try again what failed before, although nothing that it depends on has changed.",
)


@click.group(cls=_Suggesting, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="probestore")
def cli() -> None:
    """Which pretrained backbone transfers best to your data, and does a better ImageNet model transfer better?

    Features of every (model, dataset) pair are extracted once, probes are fitted on them in parallel, and SQL answers
    the questions.

    \b
    probestore demo                     the whole study on real networks and images, in minutes
    probestore run study.toml           your own
    probestore plan study.toml          what that would compute
    probestore probe --probe knn        another probe on what is stored
    probestore query leaderboard        what came out
    probestore report --out report.html
    """


@cli.command()
@_study_argument
@_study_store_option
@_storage_option
@_address_option
@_strict_option
@_retry_option
@_events_option
@click.option("--dry-run", is_flag=True, help="Compute nothing; show what is missing, as `probestore plan` does.")
def run(
    study: Path,
    store: str | None,
    storage_options: dict[str, str],
    address: str | None,
    strict: bool,
    retry_failed: bool,
    events: str | None,
    dry_run: bool,
) -> None:
    """Compute whatever STUDY (a TOML file) wants and the store does not have.

    Stop it at any time, kill it, change the study: the next run computes what is missing, and nothing else. What failed
    for a reason of its own is tried again when something that it depends on has changed, or with --retry-failed.

    \b
    Example:  probestore run study.toml --store s3://bucket/pets --address auto
    """
    from dataclasses import replace

    from cluster.study import read_study

    parsed = read_study(study)
    if strict:
        parsed = replace(parsed, extract=replace(parsed.extract, strict=True))
    uri = _store_of(parsed, store)
    if dry_run:
        _show_plan(parsed, uri, storage_options, "table", None)
    summary, opened = _execute(parsed, uri, storage_options, address, events=events, retry_failed=retry_failed)
    _say_summary(summary, opened)
    if summary.cells_wanted:
        if events != "-":  # standard output is theirs
            _show_leaderboard(opened)
        _say(f"Next:  probestore query leaderboard --store {uri}")
        _say(f"       probestore report --store {uri} --out report.html")
    sys.exit(1 if summary.failures else 0)


@cli.command()
@_study_argument
@_study_store_option
@_storage_option
@_format_option
@_out_option
def plan(study: Path, store: str | None, storage_options: dict[str, str], format_: str, out: Path | None) -> None:
    """Show what STUDY wants, what the store has, what is missing, and about how long it takes. Computes nothing.

    Weights that are not here yet are fetched, because a plan depends on them. The time is that of one worker, at the
    rates of earlier runs in the same store.

    \b
    Example:  probestore plan study.toml --store s3://bucket/pets
    """
    from cluster.study import read_study

    parsed = read_study(study)
    _show_plan(parsed, _store_of(parsed, store), storage_options, format_, out)


@cli.command()
@click.option("--store", metavar="URI", default="demo-store", show_default=True, help="Where to keep the demo's store.")
@_storage_option
@_address_option
def demo(store: str, storage_options: dict[str, str], address: str | None) -> None:
    """Five real networks on three real image datasets, from packages alone: features, probes, SQL and a report.

    \b
    Example:  probestore demo
    """
    from cluster.study import parse_study
    from queries.report import write_report

    path = resources.files("cluster") / "demo.toml"
    study = parse_study(path.read_text(encoding="utf-8"), Path(str(path)))
    summary, opened = _execute(study, store, storage_options, address)
    _say_summary(summary, opened)
    report_path = Path(store if "://" not in store else ".") / "report.html"
    write_report(opened.uri, report_path, storage_options=storage_options)
    _show_leaderboard(opened)
    _say(
        f"The report: {report_path}\n\n"
        "Three commands to try next:\n"
        f"  probestore query transfer_correlation --store {store}\n"
        f'  probestore sql "select probe, model, avg(probability) from predictions group by all" --store {store}\n'
        "  probestore run study.toml        # your own models and data: the README shows the file"
    )
    sys.exit(1 if summary.failures else 0)


@cli.command()
@click.option("--probe", "probes", multiple=True, required=True, metavar="NAME", help="A probe; can be repeated.")
@click.option("--solver", default="auto", show_default=True, metavar="NAME", help="Of the probes that need one.")
@click.option(
    "--n-per-class",
    multiple=True,
    type=int,
    metavar="N",
    help="Training images per class of a few-shot task; can be repeated. The full task is always among what is wanted.",
)
@click.option("--few-shot-seeds", default=3, show_default=True, metavar="K", help="Draws of every few-shot task.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of the fits on all training images.")
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="NAME.OPTION=JSON",
    help="An option of a probe, as in [probe.NAME] of a study; can be repeated. `probestore list probes` shows them.",
)
@_store_option
@_storage_option
@_address_option
@_retry_option
@_events_option
def probe(
    probes: tuple[str, ...],
    options: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
    address: str | None,
    retry_failed: bool,
    events: str | None,
    **keys: Any,
) -> None:
    """Fit probes on every model and dataset whose features the store holds.

    Needs no image, no network and no study file: features are read, and only what is missing is computed.

    \b
    Example:  probestore probe --probe knn --n-per-class 5 -o knn.temperature=0.1 --store demo-store
    """
    from cluster.probe_settings import probe_settings
    from featurestore import FeatureStore

    settings = probe_settings(probes=list(probes), options=options, **keys)
    opened = FeatureStore.open(store or _DEFAULT_STORE, storage_options=storage_options)
    from cluster.add_probes import add_probes
    from probes import methods

    _say(f"Probes {', '.join(probes)}: store {opened.uri}")
    summary = _compute(
        lambda runtime, reporter: add_probes(
            settings, opened, runtime=runtime, reporter=reporter, retry_failed=retry_failed
        ),
        events,
        address=address,
        store=opened,
    )
    _say_summary(summary, opened, of="this choice of probes")
    scoring = [name for name in probes if methods.predicts(name)]
    question = f"leaderboard -p probe={scoring[0]}" if scoring else "cheap_scores"
    _say(f"Next:  probestore query {question} --store {opened.uri}")
    sys.exit(1 if summary.failures else 0)


@cli.command()
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="The only metrics to add; can be repeated.")
@_store_option
@_storage_option
def rescore(metrics: tuple[str, ...], store: str | None, storage_options: dict[str, str]) -> None:
    """Add the metrics that results lack, from the stored predictions; nothing is fitted again.

    \b
    Example:  probestore rescore --metric top5 --store demo-store
    """
    from featurestore import FeatureStore
    from probes.rescore import rescore as add_metrics

    added = add_metrics(FeatureStore.open(store or _DEFAULT_STORE, storage_options=storage_options), metrics)
    if added.cells:
        _say(f"Added {added.rows} rows to the results of {added.cells} cells.")
    else:
        _say("Nothing is missing: every cell whose predictions are stored has these metrics, as far as they apply.")


@cli.command()
@click.option("--deep", metavar="N", type=click.IntRange(min=1), help="Embed N images again too; needs --study.")
@click.option(
    "--study", type=click.Path(path_type=Path), help="Of --deep: the study whose networks and images it uses."
)
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of --deep: which images are drawn.")
@_store_option
@_storage_option
@_format_option
@_out_option
def verify(
    deep: int | None,
    study: Path | None,
    seed: int,
    store: str | None,
    storage_options: dict[str, str],
    format_: str,
    out: Path | None,
) -> None:
    """Check every file of the store: checksums, row counts, schemas, values, and features against their images.

    Every file is read once, and nothing is changed. The exit code is 1 if something is wrong; warnings do not count.
    With --deep, images drawn at random go through the networks of a study again, and must give the stored features.

    \b
    Example:  probestore verify --store demo-store
              probestore verify --deep 64 --study study.toml --store demo-store
    """
    from cluster.upkeep import embed_again, findings_table, in_words
    from featurestore import FeatureStore
    from featurestore.verify import verify as check

    if (deep is None) != (study is None):
        raise ConfigurationError("--deep N and --study STUDY go together: the study names the networks and images.")
    opened = FeatureStore.open(store or _DEFAULT_STORE, storage_options=storage_options)
    verified = check(opened)
    if deep is not None and study is not None:
        from cluster.study import read_study

        verified = verified.with_findings(embed_again(read_study(study), opened, n_images=deep, seed=seed))
    if verified.findings or out or format_ != "table":
        _write(findings_table(verified.findings), format_, out)
    _say(in_words(verified))
    sys.exit(0 if verified.sound else 1)


@cli.command()
@click.option("--delete", is_flag=True, help="Remove it. Without this, it is only listed.")
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Leave what was written later: a run may be about to need it.",
)
@_store_option
@_storage_option
@_format_option
@_out_option
def gc(
    delete: bool, hours: float, store: str | None, storage_options: dict[str, str], format_: str, out: Path | None
) -> None:
    """List, or remove, what no study of the store needs: old features, image tables, results and staged files.

    A study needs what its last run wanted. Do not remove anything while a study is being started.

    \b
    Example:  probestore gc --store demo-store --delete
    """
    from datetime import timedelta

    from cluster.upkeep import garbage_table
    from featurestore import FeatureStore, garbage

    opened = FeatureStore.open(store or _DEFAULT_STORE, storage_options=storage_options)
    found = garbage.find(opened, older_than=timedelta(hours=hours))
    if found or out or format_ != "table":
        _write(garbage_table(found), format_, out)
    size = f"{sum(item.n_bytes for item in found) / 1e6:,.1f} MB"
    if not found:
        _say("Everything is needed by some study, or too young to be judged.")
    elif delete:
        garbage.remove(opened, found)
        _say(f"Removed {size}.")
    else:
        _say(f"{size} are needed by no study. Nothing was removed; to remove it, add --delete.")


@cli.command("list")
@click.argument("kind", type=click.Choice(list(_KINDS)))
@_format_option
@_out_option
def list_(kind: str, format_: str, out: Path | None) -> None:
    """Show what there is of a KIND: models, datasets, probes, queries, ...

    Beside the models listed, a study can name timm:NAME, torchvision:NAME/WEIGHTS and python:MODULE:FUNCTION; beside
    the datasets, image_folder:FOLDER and parquet:FOLDER.

    \b
    Example:  probestore list models
    """
    from cluster.listings import KINDS

    _write(KINDS[kind](), format_, out)


@cli.command()
@click.argument("question")
@click.option(
    "-p", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter of the question; can be repeated."
)
@_store_option
@_storage_option
@_format_option
@_out_option
def query(
    question: str,
    parameters: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
    format_: str,
    out: Path | None,
) -> None:
    """Answer a QUESTION: one of `probestore list queries`, or a .sql file of your own.

    \b
    Example:  probestore query transfer_correlation -p setting=fixed --format markdown
    """
    from queries.database import connect

    values = dict(_key_value(text) for text in parameters)
    with connect(store or _DEFAULT_STORE, storage_options=storage_options) as database:
        answer = (
            database.run_file(question, **values) if question.endswith(".sql") else database.query(question, **values)
        )
    _write(answer, format_, out)


@cli.command()
@click.argument("text", metavar="SQL")
@_store_option
@_storage_option
@_format_option
@_out_option
def sql(text: str, store: str | None, storage_options: dict[str, str], format_: str, out: Path | None) -> None:
    """Run one SELECT over the store's tables, read-only.

    Tables: features, samples, models, datasets, cells, results, tuning, predictions, failures, heads.

    \b
    Example:  probestore sql "select probe, model, avg(value) from results where headline group by all"
    """
    from queries.database import connect

    with connect(store or _DEFAULT_STORE, storage_options=storage_options) as database:
        answer = database.sql(text)
    _write(answer, format_, out)


@cli.command()
@_store_option
@_storage_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The page."
)
@click.option("--charts", type=click.Path(path_type=Path), help="Folder to write the charts to as well.")
@click.option(
    "--charts-format", type=click.Choice(["svg", "png"]), default="svg", show_default=True, help="Of --charts."
)
def report(
    store: str | None, storage_options: dict[str, str], out: Path, charts: Path | None, charts_format: str
) -> None:
    """Write one HTML page that opens without a network: the answer, its uncertainty, and all that is behind it.

    \b
    Example:  probestore report --store demo-store --out report.html --charts figures
    """
    from queries.report import write_report

    uri = store or _DEFAULT_STORE
    write_report(uri, out, charts_dir=charts, charts_format=charts_format, storage_options=storage_options)
    _say(f"The report: {out}")


def main() -> None:
    """Run the command; every error becomes a message and an exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        _stopped()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ProbestoreError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _stopped()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - `| head` closed it; the flush at exit must not fail
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception:
        _fail(f"Something that should not happen did; please report it with {_keep_traceback()}")


def _store_of(study: Study, given: str | None) -> str:
    return given or study.store or os.environ.get("PROBESTORE_STORE") or _DEFAULT_STORE


def _show_plan(study: Study, uri: str, storage_options: dict[str, str], format_: str, out: Path | None) -> None:
    """Show the plan and end: with exit code 1 if some of it cannot be done."""
    from cluster.estimate import plan_table, summary_lines
    from cluster.planning import existing_store, plan_study

    store = existing_store(uri, storage_options)
    rows = plan_study(study, store)
    _write(plan_table(rows), format_, out)
    _say(f"Study {study.name}, store {uri}{'' if store else ' (yet to be made)'}")
    for line in summary_lines(rows):
        _say(line)
    sys.exit(1 if any(row.problem for row in rows) else 0)


def _execute(
    study: Study,
    uri: str,
    storage_options: dict[str, str],
    address: str | None,
    *,
    events: str | None = None,
    retry_failed: bool = False,
) -> tuple[Summary, FeatureStore]:
    from featurestore import FeatureStore

    store = FeatureStore.create(uri, storage_options=storage_options)
    _say(f"Study {study.name}: {len(study.models)} models x {len(study.datasets)} datasets, store {store.uri}")
    from cluster.execute import run_study

    summary = _compute(
        lambda runtime, reporter: run_study(
            study, store, runtime=runtime, reporter=reporter, retry_failed=retry_failed
        ),
        events,
        address=address,
        store=store,
        cluster=study.cluster,
    )
    return summary, store


def _compute(work: Callable[[Runtime, Reporter], Summary], events: str | None, **runtime: Any) -> Summary:
    """Do `work` with a `Runtime` of these arguments, and tell of it on the terminal and in the file `events`."""
    from cluster.runtime import Runtime

    with _reporter(events) as reporter, Runtime(**runtime) as started:
        return work(started, reporter)


@contextmanager
def _reporter(events: str | None) -> Iterator[Reporter]:
    from cluster.events import EventLines, Reporters
    from cluster.progress import reporter_for

    screen = reporter_for(Console(stderr=True))
    if events is None:
        yield screen
    elif events == "-":
        yield Reporters(screen, EventLines(sys.stdout))
    else:
        with Path(events).open("a", encoding="utf-8") as stream:
            yield Reporters(screen, EventLines(stream))


def _say_summary(summary: Summary, store: FeatureStore, *, of: str = "the study") -> None:
    if not summary.passes and not summary.cells and not summary.failures:
        _say(f"Nothing is missing: all {summary.cells_wanted} cells of {of} are in the store.")
    else:
        features = f"{summary.passes} image features and " if summary.passes else ""
        _say(f"Computed {features}{summary.cells} new cells; {of} has {summary.cells_wanted}.")
    if summary.unreadable:
        _say(f"{summary.unreadable} images could not be read and were left out. See which:")
        _say(f"  probestore query skipped_images --store {store.uri}")
    if summary.failures:
        Console(stderr=True).print(_failure_table(summary))
    if summary.n_failed_before:
        _say(
            f"{summary.n_failed_before} of them failed before and were not tried again, because nothing that they "
            "depend on has changed. The same command with --retry-failed tries them."
        )


def _failure_table(summary: Summary) -> Table:
    table = Table(
        "stage", "model", "dataset", "error", "message", title=f"{len(summary.failures)} failed", title_style="bold red"
    )
    for work in summary.failures:
        texts = (work.stage, work.model or "all", work.dataset or "all", work.failure.error, work.failure.message)
        table.add_row(*map(Text, texts))  # plain: a message may hold what rich would take for markup
    return table


def _show_leaderboard(store: FeatureStore) -> None:
    from queries.database import Database

    with Database(store) as database:
        _write(database.query("leaderboard").select(_SHORT_LEADERBOARD), "table", None)


def _write(answer: Any, format_: str, out: Path | None) -> None:
    from queries.formats import save, write

    if out is None:
        write(answer, format_, sys.stdout)
    else:
        save(answer, format_, out)


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"A parameter must be key=value. Got {text!r}.")
    return key.strip(), value


def _say(text: str) -> None:
    click.echo(text, err=True)


def _fail(message: str) -> None:
    _say(f"Error: {message}")
    sys.exit(2)


def _keep_traceback() -> Path:
    """Write the traceback of the current exception to a file, for the report of a bug."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="probestore-", suffix=".log", delete=False) as file:
        traceback.print_exc(file=file)
    return Path(file.name)


def _stopped() -> None:
    _say("\nStopped. What is finished is stored; the same command carries on from there.")
    sys.stdout.flush()
    # Ray's clean-up when the interpreter ends can crash after an interrupt; `Runtime` has stopped it already.
    os._exit(130)


if __name__ == "__main__":
    main()
