"""The contract of a strategy and what all share: learner, teacher, ramps."""
