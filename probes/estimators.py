"""The logistic regression of the probes as scikit-learn estimators, for any arrays.

`LogisticPath` fits a whole grid of l2, `LogisticProbe` one value. Both minimise the objective of `probes.objective`,
the mean of the losses + (l2/2) ||W||², biases free, by any of `probes.solvers`, and report how far each fit is from the
optimum. For n images, l2 in other conventions is

- with scikit-learn's C: l2 = 1 / (n C), and 1 / (C Σ w_i) with sample weights;
- with the λ of Kornblith et al. (2019), λ||W||² against the sum of the losses: l2 = 2 λ / n.

With two classes, `sklearn.linear_model.LogisticRegression` penalises the difference w of the rows of W, while these
estimators penalise both rows, as with any number of classes. Both agree at l2 = 2 / (n C), where coef_[1] − coef_[0] is
w.

Features must be dense: float16, float32 or float64. They are not copied to float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.special import log_expit, log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from probes import solvers
from probes.objective import GAP_TOLERANCE, L2_GRID, Features, Labels, LogisticFit, Vector, probabilities

ClassWeight: TypeAlias = Mapping[Any, float] | Literal["balanced"] | None

_FLOATS = (np.float64, np.float32, np.float16)  # other types are converted to the first


class _Logistic(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """The part that both estimators share: they check their arguments, learn the classes, and fit."""

    classes_: NDArray[Any]
    multilabel_: bool
    n_features_in_: int

    def __init__(
        self,
        solver: str,
        device: str,
        gap_tolerance: float,
        max_iter: int,
        fit_intercept: bool,
        class_weight: ClassWeight,
    ) -> None:
        self.solver = solver
        self.device = device
        self.gap_tolerance = gap_tolerance
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _fits(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, l2s: Vector) -> list[LogisticFit]:
        """Check everything, learn the classes, and fit."""
        if l2s.ndim != 1 or not l2s.size or not (np.isfinite(l2s).all() and (l2s > 0).all()):
            raise ValueError(f"l2 must be one or more numbers above 0. Got {l2s.tolist()}.")
        fit_path = solvers.load(self.solver).fit_path
        features, y = validate_data(self, X, y, dtype=_FLOATS, multi_output=True)
        labels = self._learn_classes(y)
        weight = None if sample_weight is None else _sample_weight(sample_weight, features)
        if self.class_weight is not None:
            weight = self._weight_of_classes(labels, np.ones(len(labels)) if weight is None else weight)
        fits = fit_path(
            features,
            labels,
            l2s=l2s.tolist(),
            n_classes=len(self.classes_),
            sample_weight=weight,
            fit_intercept=self.fit_intercept,
            gap_tolerance=self.gap_tolerance,
            max_iter=self.max_iter,
            device=self.device,
        )
        _warn_of_short(fits, self.gap_tolerance, self.max_iter)
        return fits

    def _learn_classes(self, y: Any) -> Labels:
        """Set `classes_` and `multilabel_`; return y in the form that solvers take."""
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError(
                "Unknown label type: multiclass-multioutput. Each column of y must stand for a class and hold 0 and 1."
            )
        self.multilabel_ = kind == "multilabel-indicator"
        if self.multilabel_:
            indicators: NDArray[np.bool_] = (y.toarray() if issparse(y) else y).astype(np.bool_)
            self.classes_ = np.arange(indicators.shape[1])
            return indicators
        self.classes_, indices = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        return indices.astype(np.int64)

    def _weight_of_classes(self, labels: Labels, weight: Vector) -> Vector:
        """Multiply the sample weights by the class weights; return (n,), or (n, n_classes) when multi-label."""
        if self.class_weight == "balanced":
            if not self.multilabel_:
                totals: Vector = np.bincount(labels, weights=weight).astype(np.float64)
                return weight * _evening(totals)[labels]
            positive: Vector = (weight[:, None] * labels).sum(axis=0)
            return weight[:, None] * np.where(labels, _evening(positive), _evening(weight.sum() - positive))
        if self.multilabel_:
            raise ValueError(f"class_weight must be 'balanced' or None for multi-label y. Got {self.class_weight!r}.")
        by_class: Vector = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[labels])
        return weight * by_class[labels]

    def _checked(self, X: ArrayLike) -> Features:
        """Check that the estimator is fitted and that X has the features of the fit; return X."""
        check_is_fitted(self)
        features: Features = validate_data(self, X, dtype=_FLOATS, reset=False)
        return features


class LogisticProbe(ClassifierMixin, _Logistic):  # type: ignore[misc]
    """Multinomial logistic regression at one l2, or one binary regression per class when y is a multi-label indicator.

    Parameters
    ----------
    l2 : float
        Strength of the penalty (l2/2) ||W||² against the mean of the losses; the module docstring converts.
    solver : str
        One of `probes.solvers`: "path", "sklearn" or "cuml".
    device : str
        "auto", "cpu" or "cuda". A solver that runs on one kind of device ignores it.
    gap_tolerance : float
        Relative duality gap to which the fit is certified.
    max_iter : int
        Most iterations.
    fit_intercept : bool
    class_weight : mapping of class to float, "balanced" or None
        Factors of the sample weights. When y is multi-label it must be None or "balanced", which gives the images with
        a label and the images without it the same total weight.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        When multi-label: the columns of y.
    multilabel_ : bool
    coef_ : ndarray of shape (n_classes, n_features)
        One row for each class, also with two classes.
    intercept_ : ndarray of shape (n_classes,)
        Infinite for a class whose images all have weight 0.
    n_iter_ : int
    converged_ : bool
    objective_, duality_gap_, gradient_norm_ : float
        The `probes.Certificate` of the fit.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only if the columns of X had names, all of them strings.
    """

    def __init__(
        self,
        l2: float = 1e-3,
        *,
        solver: str = "path",
        device: str = "auto",
        gap_tolerance: float = GAP_TOLERANCE,
        max_iter: int = 1000,
        fit_intercept: bool = True,
        class_weight: ClassWeight = None,
    ) -> None:
        self.l2 = l2
        super().__init__(solver, device, gap_tolerance, max_iter, fit_intercept, class_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit, and warn if the fit is not certified.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,), or indicator matrix of shape (n, n_classes)
        sample_weight : array-like of shape (n,), optional
            Not negative.

        Raises
        ------
        ValueError
            If an argument or a parameter cannot be used.
        UnknownNameError
            If there is no such solver.
        ConfigurationError
            If the solver needs a library or a device that this machine does not have.
        """
        (fit,) = self._fits(X, y, sample_weight, np.array([self.l2], dtype=np.float64))
        self.coef_, self.intercept_ = fit.coef, fit.intercept
        self.n_iter_, self.converged_ = fit.n_iter, fit.converged
        self.objective_ = fit.certificate.objective
        self.duality_gap_ = fit.certificate.duality_gap
        self.gradient_norm_ = fit.certificate.gradient_norm
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Return the logits (n, n_classes); with two classes the second minus the first, (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 and not self.multilabel_ else logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class (n,); when multi-label, 1 for classes above probability 1/2 (n, n_classes)."""
        logits = self._logits(X)
        if self.multilabel_:
            return (logits > 0).astype(np.int64)
        likeliest: NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return likeliest

    def predict_proba(self, X: ArrayLike) -> Vector:
        """Return the probabilities (n, n_classes); rows add up to 1 unless multi-label."""
        return probabilities(self._checked(X), self.coef_, self.intercept_, self.multilabel_)

    def predict_log_proba(self, X: ArrayLike) -> Vector:
        """Return the logarithms of the probabilities (n, n_classes), exact where probabilities underflow."""
        logits = self._logits(X)
        scores: Vector = log_expit(logits) if self.multilabel_ else log_softmax(logits, axis=1)
        return scores

    def _logits(self, X: ArrayLike) -> Vector:
        logits: Vector = self._checked(X) @ self.coef_.T + self.intercept_
        return logits


class LogisticPath(_Logistic):
    """The regression of `LogisticProbe` at every l2 of a grid, in less time than separate fits take.

    Parameters
    ----------
    l2s : sequence of float or None
        Positive values in any order. None stands for `probes.L2_GRID`.
    solver, device, gap_tolerance, max_iter, fit_intercept, class_weight
        The same as those of `LogisticProbe`; `max_iter` applies to each l2.

    Attributes
    ----------
    l2s_ : ndarray of shape (m,)
        The values in the order given. All other arrays have the same order.
    classes_ : ndarray of shape (n_classes,)
    multilabel_ : bool
    coefs_ : ndarray of shape (m, n_classes, n_features)
    intercepts_ : ndarray of shape (m, n_classes)
    n_iter_, converged_, objective_, duality_gap_, gradient_norm_ : ndarray of shape (m,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only if the columns of X had names, all of them strings.
    """

    def __init__(
        self,
        l2s: Sequence[float] | Vector | None = None,
        *,
        solver: str = "path",
        device: str = "auto",
        gap_tolerance: float = GAP_TOLERANCE,
        max_iter: int = 1000,
        fit_intercept: bool = True,
        class_weight: ClassWeight = None,
    ) -> None:
        self.l2s = l2s
        super().__init__(solver, device, gap_tolerance, max_iter, fit_intercept, class_weight)

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit every l2, and warn if one of the fits is not certified.

        Parameters and errors are those of `LogisticProbe.fit`.
        """
        l2s: Vector = np.array(L2_GRID if self.l2s is None else self.l2s, dtype=np.float64)
        fits = self._fits(X, y, sample_weight, l2s)
        self.l2s_ = l2s
        self.coefs_ = np.stack([fit.coef for fit in fits])
        self.intercepts_ = np.stack([fit.intercept for fit in fits])
        self.n_iter_ = np.array([fit.n_iter for fit in fits])
        self.converged_ = np.array([fit.converged for fit in fits])
        self.objective_ = np.array([fit.certificate.objective for fit in fits])
        self.duality_gap_ = np.array([fit.certificate.duality_gap for fit in fits])
        self.gradient_norm_ = np.array([fit.certificate.gradient_norm for fit in fits])
        return self

    def predict_proba(self, X: ArrayLike) -> Vector:
        """Return the probabilities at every l2, shape (m, n, n_classes)."""
        X = self._checked(X)
        pairs = zip(self.coefs_, self.intercepts_, strict=True)
        return np.stack([probabilities(X, coef, intercept, self.multilabel_) for coef, intercept in pairs])

    def at(self, l2: float) -> LogisticProbe:
        """Return the fit at one value of the grid as a `LogisticProbe`.

        Raises
        ------
        ValueError
            If the value is not in `l2s_`.
        """
        check_is_fitted(self)
        (found,) = np.nonzero(np.isclose(self.l2s_, l2, rtol=1e-9, atol=0))
        if not found.size:
            raise ValueError(f"l2 must be one of the fitted values {self.l2s_.tolist()}. Got {l2}.")
        parameters = self.get_params()
        del parameters["l2s"]
        probe = LogisticProbe(float(self.l2s_[found[0]]), **parameters)
        for name in ("classes_", "multilabel_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(probe, name, getattr(self, name))
        probe.coef_, probe.intercept_ = self.coefs_[found[0]], self.intercepts_[found[0]]
        for name in ("n_iter_", "converged_", "objective_", "duality_gap_", "gradient_norm_"):
            setattr(probe, name, getattr(self, name)[found[0]].item())
        return probe


def _sample_weight(sample_weight: ArrayLike, X: Features) -> Vector:
    """Return the sample weights (n,). Raise ValueError if one is negative or all are 0."""
    weight: Vector = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight must not be 0 for all images.")
    return weight


def _evening(totals: Vector) -> Vector:
    """Return the factors that make the totals of weights equal; 1 for a total of 0."""
    factor: Vector = np.divide(1, totals, out=np.ones_like(totals), where=totals > 0)
    return factor


def _warn_of_short(fits: Sequence[LogisticFit], gap_tolerance: float, max_iter: int) -> None:
    """Warn of fits that have not converged: how many there are, and the worst of them."""
    short = [fit for fit in fits if not fit.converged]
    if short:
        worst = max(short, key=lambda fit: fit.certificate.duality_gap)
        warnings.warn(
            f"{len(short)} of {len(fits)} fits have not reached a relative duality gap of {gap_tolerance:g}. The "
            f"largest gap is {worst.certificate.duality_gap:.2g}, at l2 = {worst.l2:g} after {worst.n_iter} iterations "
            f"of at most {max_iter}. Raise max_iter, gap_tolerance or l2.",
            ConvergenceWarning,
            stacklevel=4,
        )
