"""The report in a browser, live."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from cluster.console import options
from cluster.console.terminal import say
from featurestore.errors import ConfigurationError

if TYPE_CHECKING:
    from queries.dashboard.serving import DashboardServer


@click.command()
@options.store_option
@options.storage_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: one that is free.")
@click.option("--open/--no-open", "open_", default=False, show_default=True, help="Open it in the browser.")
def command(store: str | None, storage_options: dict[str, str], port: int, open_: bool) -> None:
    """Show the report in a browser, live over a running study, with a box for SQL. Ctrl-C ends it.

    Only this machine can reach it, and only with the token in the address that is printed.

    \b
    Example:  probestore dashboard --store demo-store --open
    """
    from featurestore import FeatureStore
    from queries.dashboard.opening import opened_in_browser

    server_class = _server_class()
    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    server = server_class(opened, port=port)
    say(f"The dashboard of {opened.uri}, until Ctrl-C:")
    click.echo(server.url)
    with opened_in_browser(server.url) if open_ else nullcontext():
        server.run()


def _server_class() -> type[DashboardServer]:
    """Import the server. The packages that serve pages are an extra, since only this command needs them."""
    try:
        from queries.dashboard.serving import DashboardServer
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ConfigurationError(
            f"The dashboard needs the package {error.name}, which is not installed. "
            "Run: pip install 'probestore[dashboard]'"
        ) from error
    return DashboardServer
