"""What a run says of the pixels that it decoded: turned images, and those that have more than 8 bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images.decoding import Image
from featurestore.plain_text import counted


@dataclass(frozen=True)
class PixelFacts:
    """Counts over some images.

    Attributes
    ----------
    n_images : int
    n_turned : int
        Those whose EXIF orientation is another than upright.
    deep : dict of str to (int, float)
        Number and largest value of those with more than 8 bits per pixel, by their kind in words.
    """

    n_images: int = 0
    n_turned: int = 0
    deep: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Iterable[Image]) -> PixelFacts:
        """Count over the images of a shard."""
        every = list(images)
        deep = [cls(deep={_kind(image): (1, image.largest)}) for image in every if image.largest is not None]
        turned = sum((image.orientation or 1) > 1 for image in every)
        return sum(deep, cls(n_images=len(every), n_turned=turned))

    def __add__(self, other: PixelFacts) -> PixelFacts:
        """Count over the images of both."""
        both = [*self.deep.items(), *other.deep.items()]
        deep = {
            kind: (sum(n for of, (n, _) in both if of == kind), max(most for of, (_, most) in both if of == kind))
            for kind, _ in both
        }
        return PixelFacts(self.n_images + other.n_images, self.n_turned + other.n_turned, deep)

    def notes(self, spec: DatasetSpec) -> Iterator[str]:
        """Return sentences about what a user may not expect of a dataset."""
        if self.n_turned:
            done = "they were turned" if spec.exif == "apply" else 'exif = "apply" turns them'
            yield f"{self.n_turned:,} of {self.n_images:,} images of {spec.name} state an EXIF orientation; {done}."
        for kind, (number, largest) in sorted(self.deep.items()) if spec.pixel_range is None else ():
            which = f"{counted(number, 'image')} of {spec.name} {'is' if number == 1 else 'are'} {kind}"
            yield (
                f"{which}: values from 0 to {_MOST.get(kind, 65535)} became 0 to 255. "
                f"The largest value is {largest:,.6g}; pixel_range sets another range."
            )


def _kind(image: Image) -> str:
    return _KINDS.get(image.mode or "", "of 16 bits")


_KINDS = {"F": "of floats", "I": "of 32 bits"}
_MOST = {"of floats": 1}
