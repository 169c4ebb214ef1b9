"""S3 and Google Cloud Storage: one PUT shows a small file whole; a large one is copied to its place by the server.

What is larger than one PUT goes up in several requests, and pyarrow's output stream *completes* such an upload with
what it has when it is closed after an error. So a large file goes to the staging folder first, and the server copies it
to its place in one step, once it has the right size there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from featurestore.store import layout
from featurestore.store.backends import Content
from featurestore.store.places import Place

ONE_PUT_BYTES = 8 * 1024**2
"""Number of bytes that S3 takes in one request: pyarrow uploads in parts from 10 MiB."""


class Bucket:
    """The prefix of a store in a bucket. It has no folders; pyarrow knows no request that makes new files only.

    Of two writers of a new file within the time of one upload, the later one replaces the earlier one's file, whole by
    whole. So parts of sets, whose bytes a manifest describes, have names of their own (`FeatureStore.write_shard`).
    """

    puts_new = False

    def __init__(self, place: Place) -> None:
        self._place = place
        self._one_put = ONE_PUT_BYTES if place.kind == "s3" else 0

    def put(self, name: str, content: Content, *, new: bool = False) -> bool:
        if len(content) <= self._one_put:
            # In a thread of its own no Ctrl-C can come between opening and writing, which would publish an empty file.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(upload, self._place, name, content).result()
        else:
            put_by_copy(self._place, name, content)
        return True

    def hold(self, name: str) -> str | None:
        return name

    def put_back(self, held: str, name: str) -> None:
        pass

    def external(self, name: str) -> str:
        return f"{self._place.uri}/{name}"

    def remove_empty_folders(self, folder: str) -> None:
        pass


def open(place: Place) -> Bucket:  # noqa: A001 - the name of the one function of every backend
    """Open a prefix in a bucket."""
    return Bucket(place)


def put_by_copy(place: Place, name: str, content: Content) -> None:
    """Upload a file to the staging folder, and let the server move it to its place."""
    staged = layout.staging_name(name)
    upload(place, staged, content, in_parts=True)
    place.filesystem.move(place.path(staged), place.path(name))


def upload(place: Place, name: str, content: Content, *, in_parts: bool = False) -> None:
    """Write a remote file, and trust only what has the right size.

    Parameters
    ----------
    in_parts : bool
        Whether it takes several requests, each of which is tried again alone.

    Raises
    ------
    OSError
        If it cannot be written, or arrived in part.
    """
    client = place.patiently() if in_parts else nullcontext(place.filesystem)
    with client as filesystem, filesystem.open_output_stream(place.path(name)) as stream:
        stream.write(content)
    found = place.filesystem.get_file_info(place.path(name)).size
    if found != len(content):
        raise OSError(f"{found} bytes of {len(content)} have arrived as {name}")
