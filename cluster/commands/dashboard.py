"""`probestore dashboard`: the report in a browser, live."""

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
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option("--open/--no-open", "open_", default=False, show_default=True, help="Open the page in the browser.")
def command(store: str | None, storage_options: dict[str, str], port: int, open_: bool) -> None:
    """Show the report in a browser, live over a running study, with a box for SQL. Ctrl-C ends the dashboard.

    Only this machine can reach the dashboard, and only with the token in the address that the command prints.

    \b
    Example:  probestore dashboard --store demo-store --open
    """
    from featurestore import FeatureStore
    from queries.dashboard.opening import opened_in_browser

    server_class = _server_class()
    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    server = server_class(opened, port=port)
    say(f"This is the address of the dashboard of {opened.uri}. Press Ctrl-C to end it.")
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
