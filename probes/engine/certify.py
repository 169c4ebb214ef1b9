"""Compute the certificates of `probes.objective` for many fits at once, in float64 on the original features.

One pass over the features serves several values of l2, so that certifying a path takes little time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from probes.engine.problem import LOGITS_BYTES, Problem
from probes.engine.rows import Rows
from probes.objective import Certificate, mixture, relative

COLUMNS = 512  # logits per image in one product: enough for full speed, and 4 KB


def certify(
    problem: Problem,
    X: Tensor,
    share: Tensor,
    coefs: Sequence[Tensor],
    intercepts: Sequence[Tensor],
    l2s: Sequence[float],
) -> list[Certificate]:
    """Certify fits of one problem.

    Parameters
    ----------
    problem : Problem
    X : Tensor of shape (n, n_features)
        The original features, of any floating type.
    share : Tensor of shape (1, n) or (n_classes, n), float64
        Share of each image, as in `probes.objective.shares`.
    coefs : sequence of Tensor of shape (n_classes, n_features), float64
    intercepts : sequence of Tensor of shape (n_classes,), float64
    l2s : sequence of float
    """
    group = max(1, COLUMNS // problem.n_classes)
    found = []
    for start in range(0, len(l2s), group):
        several = slice(start, start + group)
        together = torch.stack(list(coefs[several])), torch.stack(list(intercepts[several]))
        found += _Group(problem, X, share, *together).certify(l2s[several])
    return found


class _Group:
    """Fits whose logits are computed together.

    coefs is (m, n_classes, n_features), intercepts (m, n_classes), for m fits.
    """

    def __init__(self, problem: Problem, X: Tensor, share: Tensor, coefs: Tensor, intercepts: Tensor) -> None:
        self.problem, self.share, self.coefs = problem, share, coefs
        self.rows = Rows(X, torch.float64)
        self.mean = problem.basis.mean
        self.bias = intercepts + coefs @ self.mean
        n_logits = coefs.shape[0] * coefs.shape[1]
        self.slices = self.rows.slices(n_logits)
        self.kept: list[Tensor] | None = [] if n_logits * len(X) * 8 <= LOGITS_BYTES[X.device.type] else None

    def certify(self, l2s: Sequence[float]) -> list[Certificate]:
        problem, loss = self.problem, self.problem.loss
        m, n_classes, d = self.coefs.shape
        losses, balance = self.coefs.new_zeros(m), self.coefs.new_zeros(m, n_classes)
        slope, class_sums = self.coefs.new_zeros(m, n_classes, d), self.coefs.new_zeros(n_classes, d)
        for block, x, logits in self._logits(keep=True):
            y, share = problem.y[..., block], self.share[:, block]
            residuals = torch.empty_like(logits)
            for fit in range(m):
                one, residual = loss(logits[fit], y)
                losses[fit] += (one * share).sum()
                residuals[fit] = residual * share
            balance += residuals.sum(dim=2)
            slope += (residuals.flatten(0, 1) @ x).view(m, n_classes, d)
            class_sums += (loss.indicators(y, n_classes, torch.float64) * share) @ x
        divergence = torch.zeros_like(losses)
        dual = slope
        if problem.fit_intercept:
            epsilon, t = self._mixtures(balance)
            dual = slope - epsilon[:, :, None] * (slope + class_sums)
            for block, _, logits in self._logits():
                share = self.share[:, block]
                for fit in range(m):
                    divergence[fit] += (loss.divergence(logits[fit], epsilon[fit], t[fit]) * share).sum()
        return [
            self._certificate(fit, l2, losses[fit], slope[fit], dual[fit], balance[fit], divergence[fit])
            for fit, l2 in enumerate(l2s)
        ]

    def _certificate(
        self, fit: int, l2: float, loss: Tensor, slope: Tensor, dual: Tensor, balance: Tensor, divergence: Tensor
    ) -> Certificate:
        coef = self.coefs[fit]
        objective = float(loss + l2 / 2 * coef.square().sum())
        gap = float(divergence + (l2 * coef + dual).square().sum() / (2 * l2))
        if not self.problem.fit_intercept:
            balance = torch.zeros_like(balance)
        gradient = l2 * coef + slope + torch.outer(balance, self.mean)  # on the original X, not centred
        return Certificate(
            objective=objective,
            gradient_norm=float(torch.hypot(gradient.norm(), balance.norm())),
            duality_gap=relative(gap, objective, float(self.problem.chance.sum())),
        )

    def _mixtures(self, balance: Tensor) -> tuple[Tensor, Tensor]:
        """Return ε and t of every fit, (m, 1 or n_classes) and (m, n_classes)."""
        frequency = self.problem.frequency.cpu().numpy()
        pairs = [mixture(one, frequency, multilabel=self.problem.loss.multilabel) for one in balance.cpu().numpy()]
        epsilon, t = (torch.stack([torch.from_numpy(pair[i]) for pair in pairs]) for i in (0, 1))
        return epsilon.to(balance.device), t.to(balance.device)

    def _logits(self, *, keep: bool = False) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield blocks of rows, centred features (empty when logits were kept) and logits (m, n_classes, n_block)."""
        if self.kept and not keep:
            for block, logits in zip(self.slices, self.kept, strict=True):
                yield block, logits.new_empty(0), logits
            return
        m, n_classes, d = self.coefs.shape
        flat = self.coefs.reshape(m * n_classes, d)
        for block in self.slices:
            x = self.rows[block] - self.mean
            logits = (flat @ x.T).view(m, n_classes, -1) + self.bias[:, :, None]
            if keep and self.kept is not None:
                self.kept.append(logits)
            yield block, x, logits
