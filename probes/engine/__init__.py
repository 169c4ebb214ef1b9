"""The machinery of the `path` solver, in torch: rows in blocks, losses, one problem's evaluations, L-BFGS.

Matrices are class-major: weights (n_classes, n_features), logits and residuals (n_classes, n). A row of images is then
contiguous for each class, which is what both products and the elementwise passes want when there are few classes.
"""
