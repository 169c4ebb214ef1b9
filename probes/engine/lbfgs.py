"""Limited-memory BFGS whose pairs serve every value of l2.

A pair is a step s and the change y of the gradient of the loss along it. At l2 the gradient of the objective changes by
exactly y + l2 s, so that a pair of one value of l2 holds for all other values.

Let S and Y be the matrices whose rows are the pairs, oldest first, R the upper triangle of S Yᵀ, D its diagonal, and M
the preconditioner. The two-loop recursion (Nocedal and Wright, *Numerical Optimization*, 2nd ed., algorithm 7.4) is

    α = R⁻¹ S g,    r = M (g − Yᵀ α),    direction = r + Sᵀ R⁻ᵀ (D α − Y r):

four products with pairs and two triangular solves instead of a loop.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PAIRS = 90
PAIRS_BYTES = 32 * 1024**2


class Memory:
    """The pairs of the last steps of B separate problems, each with weights of its own.

    Parameters
    ----------
    like : Tensor of shape (n_classes, r)
        A tensor of the shape, type and device of the weights.
    n_problems : int
        B: 1, or n_classes.
    """

    def __init__(self, like: Tensor, n_problems: int) -> None:
        self._shape = like.shape
        self._n_problems = n_problems
        fits = PAIRS_BYTES // (2 * like.numel() * like.element_size())
        self._capacity = max(10, min(PAIRS, fits))
        self._count = 0
        flat = (n_problems, self._capacity, like.numel() // n_problems)
        square = (n_problems, self._capacity, self._capacity)
        self._steps, self._changes = like.new_zeros(flat), like.new_zeros(flat)
        self._step_change = like.new_zeros(square, dtype=torch.float64)  # S Yᵀ
        self._step_step = like.new_zeros(square, dtype=torch.float64)  # S Sᵀ

    def add(self, step: Tensor, change: Tensor) -> None:
        """Add a pair: a step and the change of the loss's gradient along it, both (n_classes, r)."""
        slot = self._count % self._capacity
        self._count += 1
        s, y = self._flat(step), self._flat(change)
        self._steps[:, slot], self._changes[:, slot] = s[:, :, 0], y[:, :, 0]
        self._step_change[:, slot] = (self._changes @ s)[:, :, 0].double()
        self._step_change[:, :, slot] = (self._steps @ y)[:, :, 0].double()
        self._step_step[:, slot] = self._step_step[:, :, slot] = (self._steps @ s)[:, :, 0].double()

    def inverse_hessian_times(self, gradient: Tensor, l2: float, precondition: Callable[[Tensor], Tensor]) -> Tensor:
        """Multiply a gradient (n_classes, r) by the approximate inverse Hessian at `l2`."""
        n = min(self._count, self._capacity)
        if not n:
            return precondition(gradient)
        order = [(self._count - n + i) % self._capacity for i in range(n)]
        products = (self._step_change + l2 * self._step_step)[:, order][:, :, order]
        diagonal = products.diagonal(dim1=1, dim2=2)
        usable = diagonal > 0  # the curvature of other pairs is lost in rounding; a solved problem has no steps
        both = usable[:, :, None] & usable[:, None, :]
        triangle = torch.where(both, products, 0.0).triu()
        triangle.diagonal(dim1=1, dim2=2).masked_fill_(~usable, 1.0)
        g = self._flat(gradient)
        alpha = torch.linalg.solve_triangular(triangle, self._along(self._steps, g, order, usable), upper=True)
        product = g - self._combined(self._changes, alpha, order) - l2 * self._combined(self._steps, alpha, order)
        last = self._steps[:, order[-1]], self._changes[:, order[-1]] + l2 * self._steps[:, order[-1]]
        r = self._flat(precondition(self._shaped(product)) * self._scale(*last, precondition))
        back = self._along(self._changes, r, order, usable) + l2 * self._along(self._steps, r, order, usable)
        right = torch.where(usable[:, :, None], diagonal[:, :, None] * alpha - back, 0.0)
        gamma = torch.linalg.solve_triangular(triangle.mT, right, upper=False)
        return self._shaped(r + self._combined(self._steps, gamma, order))

    def _scale(self, step: Tensor, change: Tensor, precondition: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the curvature along the last step over that of the preconditioner, (B, 1)."""
        said = precondition(self._shaped(change[:, :, None])).reshape(change.shape)
        scale = (step * change).sum(dim=1) / (change * said).sum(dim=1)
        return torch.where(scale.isfinite() & (scale > 0), scale, 1.0)[:, None]

    def _along(self, pairs: Tensor, vector: Tensor, order: list[int], usable: Tensor) -> Tensor:
        """Return the inner products (B, n, 1) with the pairs in use, float64."""
        return torch.where(usable[:, :, None], (pairs @ vector)[:, order].double(), 0.0)

    def _combined(self, pairs: Tensor, weights: Tensor, order: list[int]) -> Tensor:
        """Return the sum (B, size, 1) of pairs, weighted by `weights` (B, n, 1)."""
        spread = pairs.new_zeros(self._n_problems, self._capacity, 1)
        spread[:, order] = weights.to(pairs.dtype)
        return pairs.mT @ spread

    def _flat(self, matrix: Tensor) -> Tensor:
        """Reshape (n_classes, r) to (B, size, 1)."""
        return matrix.reshape(self._n_problems, -1, 1)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.reshape(self._shape)
