"""`probestore verify`: checks of a store."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.console import options
from cluster.console.terminal import say, write
from featurestore.errors import ConfigurationError


@click.command()
@click.option(
    "--deep",
    metavar="N",
    type=click.IntRange(min=1),
    help="Also put N images through their networks again; needs --study.",
)
@click.option("--study", type=click.Path(path_type=Path), help="Study whose networks and images --deep uses.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of the images that --deep draws.")
@click.option("--seal", is_flag=True, help="Give every file that has none a digest, if the store is sound as it is.")
@options.store_option
@options.storage_option
@options.format_option
@options.out_option
def command(
    deep: int | None,
    study: Path | None,
    seed: int,
    seal: bool,
    store: str | None,
    storage_options: dict[str, str],
    format_: str,
    out: Path | None,
) -> None:
    """Check every file of the store: checksums, row counts, schemas, values, and features against their images.

    Every file is read once, and nothing is changed. The exit code is 1 if there is an error; warnings do not count.
    Files of earlier versions have no digests of their own, so that some damage to them cannot be seen. With --seal they
    get them, if there is no error; no run may go on meanwhile.
    With --deep, images that are drawn at random go through the networks of a study again, and must give the stored
    features.

    \b
    Example:  probestore verify --store demo-store
              probestore verify --deep 64 --study study.toml --store demo-store
    """
    from cluster.runs.deep_check import embed_again, findings_table, in_words
    from featurestore import FeatureStore
    from featurestore.care.sealing import seal as sign
    from featurestore.care.verify import verify as check
    from featurestore.plain_text import counted

    if (deep is None) != (study is None):
        raise ConfigurationError("--deep N and --study STUDY go together: the study names the networks and images.")
    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options)
    verified = check(opened)
    if deep is not None and study is not None:
        from cluster.study.study_file import read_study

        verified = verified.with_findings(embed_again(read_study(study), opened, n_images=deep, seed=seed))
    if verified.findings or out or format_ != "table":
        write(findings_table(verified.findings), format_, out)
    say(in_words(verified))
    if seal and verified.sound:
        say(f"Gave a digest to {counted(sign(opened), 'file')}.")
    sys.exit(0 if verified.sound else 1)
