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
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of what --deep and --sample draw.")
@click.option("--mend", is_flag=True, help="Remove what is damaged, and say which commands make it anew.")
@click.option("--seal", is_flag=True, help="Give every file that has none a digest, if the store is sound as it is.")
@click.option(
    "--sample",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="SHARE",
    help="Read the content of this share of the files only, such as 0.01, drawn at random with --seed.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Note in FILE what was read. A check that was interrupted carries on from there.",
)
@options.store_option
@options.storage_option
@options.format_option
@options.out_option
def command(
    deep: int | None,
    study: Path | None,
    seed: int,
    mend: bool,
    seal: bool,
    sample: float | None,
    report: Path | None,
    store: str | None,
    storage_options: dict[str, str],
    format_: str,
    out: Path | None,
) -> None:
    """Check every file of the store: checksums, row counts, schemas, values, and features against their images.

    Every file is read once, and nothing is changed. The exit code is 1 if there is an error, and 3 if there is none but
    a file could not be read now, so that nothing is known of it; warnings do not count.
    With --mend, files that are not as they were written are removed, with what rests on them, and the last lines are
    the commands that make them anew. A file that could not be read now stays. The exit code is 0 then, if nothing is
    wrong that these commands do not make good. No run may go on meanwhile.
    Files of earlier versions have no digests of their own, so that some damage to them cannot be seen. With --seal they
    get them, if there is no error; no run may go on meanwhile.
    With --sample 0.01, the content of one file in a hundred is read; manifests and the names of all files are checked
    as ever. With --report FILE, a check that was interrupted, or could not read a file, carries on where it was, and
    says how many files it took from FILE; what has changed since is read again. A check that came to its end begins
    anew.
    With --deep, images that are drawn at random go through the networks of a study again, and must give the stored
    features.

    \b
    Example:  probestore verify --store demo-store
              probestore verify --mend --store demo-store
              probestore verify --sample 0.01 --store demo-store
              probestore verify --report verified.jsonl --store demo-store
              probestore verify --deep 64 --study study.toml --store demo-store
    """
    from cluster.console.checking import check_with_progress, looks_in_words
    from cluster.console.mending import exit_code, mend_and_say
    from cluster.runs.deep_check import embed_again, findings_table, in_words
    from featurestore import FeatureStore
    from featurestore.care.sealing import seal as sign
    from featurestore.plain_text import counted
    from probes import methods

    if (deep is None) != (study is None):
        raise ConfigurationError("--deep N and --study STUDY go together: the study names the networks and images.")
    if mend and seal:
        raise ConfigurationError("--mend and --seal do not go together: seal the store when it is sound again.")
    if sample is not None and (mend or seal or report):
        raise ConfigurationError("--sample goes with none of --mend, --seal and --report: they need all files read.")
    opened = FeatureStore.open(store or options.DEFAULT_STORE, storage_options=storage_options, to_mend=True)
    asking = [name for name in methods.names() if methods.needs_classifier(name)]
    verified, looks = check_with_progress(opened, asking, share=sample or 1.0, seed=seed, report=report)
    if deep is not None and study is not None:
        from cluster.study.study_file import read_study

        verified = verified.with_findings(embed_again(read_study(study), opened, n_images=deep, seed=seed))
    if verified.findings or out or format_ != "table":
        write(findings_table(verified.findings), format_, out)
    say(in_words(verified))
    if about := looks_in_words(looks, report):
        say(about)
    if mend:
        sys.exit(mend_and_say(opened, verified, asking))
    if seal and verified.sound:
        say(f"Gave a digest to {counted(sign(opened), 'file')}.")
    elif verified.mendable:
        say(f"Mend it:  {opened.storage.mend()}")
    sys.exit(exit_code(verified))
