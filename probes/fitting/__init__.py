"""The parts that all methods share: the learning task, the choice of a hyper-parameter, and the fitted probe."""
