"""Features on a device, in their original precision; blocks of them are converted to the precision of the products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_BYTES = 8 * 1024**2
"""Size of a block of features. A few blocks fit into a processor's cache, so that each is read from memory once."""

WHOLE_BYTES = {"cpu": 4 * 1024**3, "cuda": 1024**3}
"""Features of up to this size are converted once. Larger features are converted block by block at every use."""


@dataclass(frozen=True)
class Rows:
    """Images as rows.

    Attributes
    ----------
    X : Tensor of shape (n, n_features)
        Features of any floating type.
    dtype : torch.dtype
        Blocks are converted to this type.
    """

    X: Tensor
    dtype: torch.dtype

    @classmethod
    def prepare(cls, X: Tensor, dtype: torch.dtype) -> Rows:
        """Convert X at once if the copy is small enough (`WHOLE_BYTES`)."""
        fits = X.numel() * dtype.itemsize <= WHOLE_BYTES[X.device.type]
        return cls(X.to(dtype) if fits else X, dtype)

    def __len__(self) -> int:
        return len(self.X)

    def slices(self, n_columns: int, within: slice | None = None) -> list[slice]:
        """Return row ranges so small that neither their features nor `n_columns` values per image exceed a block."""
        within = within or slice(0, len(self.X))
        widest = max(self.X.shape[1], n_columns)
        size = max(256, BLOCK_BYTES // (widest * self.dtype.itemsize))
        return [slice(row, min(row + size, within.stop)) for row in range(within.start, within.stop, size)]

    def __getitem__(self, rows: slice) -> Tensor:
        """Return converted rows, (n_rows, n_features)."""
        return self.X[rows].to(self.dtype)

    def blocks(self, n_columns: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield row ranges with their converted rows."""
        for rows in self.slices(n_columns):
            yield rows, self[rows]


def moments(rows: Rows, share: Tensor, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Return the weighted mean (n_features,) and the second moment about it (n_features, n_features).

    The mean is zeros unless `centred`. Products are computed in the type of the rows and added up in float64.

    Parameters
    ----------
    rows : Rows
    share : Tensor of shape (n,)
        Adds up to 1.
    centred : bool
    """
    d = rows.X.shape[1]
    mean = torch.zeros(d, dtype=torch.float64, device=rows.X.device)
    if centred:
        for block, x in rows.blocks(d):
            mean += (share[block].to(x.dtype) @ x).double()
    moment = torch.zeros(d, d, dtype=torch.float64, device=rows.X.device)
    shift = mean.to(rows.dtype)
    size = 8192
    for start in range(0, len(rows), size):
        x = (rows[slice(start, start + size)] - shift) * share[start : start + size, None].to(rows.dtype).sqrt()
        moment += (x.T @ x).double()
    return mean, moment
