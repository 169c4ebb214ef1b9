"""The parts of the `path` solver, in torch: rows in blocks, losses, evaluations of a problem, L-BFGS.

Matrices are class-major: weights (n_classes, n_features), logits and residuals (n_classes, n). The values of one class
are then contiguous, which makes both products and elementwise passes fast when there are few classes.
"""
