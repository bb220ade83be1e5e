"""Selection of the best checkpoint where a score is not always defined."""

import math

from semilung.training import loop, train


def test_best_checkpoint_is_the_last_one_until_a_score_is_defined(tiny, tmp_path, monkeypatch):
    scores = iter([math.nan, math.nan, 0.25, math.nan, 0.125, 0.5])
    best = []
    validate = loop.validate

    def scored(*arguments):
        metrics, picture = validate(*arguments)
        return {**metrics, "val/dice": next(scores)}, picture

    monkeypatch.setattr(loop, "validate", scored)
    save = loop._save

    def saved(training, path):
        if path == training.run.best:
            best.append((training.step, training.best))
        save(training, path)

    monkeypatch.setattr(loop, "_save", saved)
    train(tiny(validate_every=1), tmp_path / "run")
    assert best == [(1, -math.inf), (2, -math.inf), (3, 0.25), (6, 0.5)]
