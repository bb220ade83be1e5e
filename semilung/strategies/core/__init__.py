"""Base class of strategies, and their shared parts: learner, teacher, ramps."""
