"""Audits of a whole run: unasked, kept in its folder, and without a trace in its weights."""

import json
import shutil
import warnings

import pandas as pd
import pytest
from same_bits import same

from semilung.data import open_cohort, prepare, read_manifest
from semilung.runs.checkpoint import load_checkpoint
from semilung.strategies import Strategy, Term
from semilung.strategies.core.strategy import Needs, strategies
from semilung.training import loop, train
from semilung.training.audits import Audit, audit_evaluation, read_audits, save_audits


def manifest_of(phantom, folder, change):
    """The phantom's manifest with absolute paths, after `change` of its table."""
    table = pd.read_csv(phantom)
    for column in ("image", "mask", "anatomy"):
        absolute = [str(phantom.parent / p) if isinstance(p, str) else p for p in table[column]]
        table[column] = absolute
    table = change(table)
    table.to_csv(folder / "manifest.csv", index=False)
    return str(folder / "manifest.csv")


def all_labelled_train(table):
    return table.assign(split=table["split"].where(table["role"] != "labelled", "train"))


def statuses(run):
    found = json.loads((run / "audits.json").read_text())
    assert all(set(a) == {"status", "summary", "advice", "figures"} for a in found.values())
    return {name: audit["status"] for name, audit in found.items()}


def judge(config, run, split="test"):
    cohort = open_cohort(config.data, seed=config.seed)
    audit_evaluation(run, config, getattr(cohort, split), what=split)


def test_a_run_with_audits_has_the_bits_of_one_without(tiny, tmp_path, monkeypatch):
    config = tiny()
    config.strategies = {"supervised": {}, "mean_teacher": {}, "pseudo_label": {}}
    train(config, tmp_path / "audited")
    for name in ("audit_start", "audit_end"):
        monkeypatch.setattr(loop, name, lambda *_: None)
    monkeypatch.setattr(loop, "gradients", lambda *_: {})
    train(config, tmp_path / "plain")
    assert not (tmp_path / "plain/audits.json").exists()
    audited, plain = (load_checkpoint(tmp_path / n / "last.pt") for n in ("audited", "plain"))
    assert same(audited, plain)
    assert statuses(tmp_path / "audited") == {
        "splits": "ok",
        "nodules": "ok",
        "settings": "ok",
        "cohort_confound": "not applicable",
        "split_leakage": "ok",
        "term_effect": "ok",
    }


@pytest.fixture
def detached():
    """A registered strategy whose unlabelled term is detached from the student."""

    class Detached(Strategy):
        needs = Needs(views={"unlabelled": ("weak",)})

        def terms(self, step):
            return {"consistency": Term(step.out("unlabelled")["logits"].detach().square().mean())}

    strategies.register("detached_for_the_audit")(Detached)
    yield "detached_for_the_audit"
    del strategies._factories["detached_for_the_audit"]


def test_a_detached_term_is_warned_of_when_training_ends(tiny, tmp_path, detached):
    config = tiny()
    config.strategies = {"supervised": {}, detached: {}}
    with pytest.warns(UserWarning, match=f"audit term_effect: {detached}/consistency has a weight"):
        train(config, tmp_path / "run")
    assert statuses(tmp_path / "run")["term_effect"] == "warning"


def test_a_copied_volume_is_warned_of_before_training(tiny, tmp_path, phantom):
    def copied(table):
        source = table[(table["split"] == "train") & (table["role"] == "healthy")].iloc[0]
        shutil.copy(source["image"], tmp_path / "copy.nii.gz")
        twin = {"case": "twin", "patient": "stranger", "image": str(tmp_path / "copy.nii.gz")}
        twin = {**source.to_dict(), **twin, "split": "val"}
        return pd.concat([table, pd.DataFrame([twin])])

    config = tiny(max_steps=1)
    config.data.manifest = manifest_of(phantom, tmp_path, copied)
    with pytest.warns(UserWarning, match="twin is the same volume as phantom_.* of train"):
        train(config, tmp_path / "run")
    with pytest.warns(UserWarning, match="twin is the same volume"):  # and again when judged
        judge(config, tmp_path / "run", "val")


def test_hidden_masks_stay_closed_until_training_has_ended(tiny, tmp_path, phantom):
    """Poison lies where the masks beyond the budget should be."""
    config = tiny(max_steps=2)
    config.data.labelled = 1
    poison = tmp_path / "poison.nii.gz"
    poison.write_bytes(b"whoever opens this fails")

    def poisoned(table):
        config.data.manifest = manifest_of(phantom, tmp_path, all_labelled_train)
        table = all_labelled_train(table)
        names = open_cohort(config.data, seed=0).splits
        over = pd.Series([names[c]["role"] == "unlabelled" for c in table["case"]])
        hidden = over & (table["role"] == "labelled")
        assert hidden.any()
        return table.assign(mask=table["mask"].mask(hidden, str(poison)))

    config.data.manifest = manifest_of(phantom, tmp_path, poisoned)
    run = tmp_path / "run"
    train(config, run)
    config.trainer.max_steps = 3  # as if it had been stopped at step 2
    judge(config, run)
    found = read_audits(run / "audits.json")["pseudo_labels"]
    assert found.status != "not applicable"
    assert "hidden_dice" not in found.metrics
    (run / "audits.json").unlink()
    config.trainer.max_steps = 2
    judge(config, run)
    found = read_audits(run / "audits.json")["pseudo_labels"]
    assert found.status == "not applicable"
    assert "poison" in found.summary


def test_evaluation_scores_pseudo_labels_by_hidden_masks_once(tiny, tmp_path, phantom):
    config = tiny(max_steps=2)
    config.data.labelled = 1
    config.data.manifest = manifest_of(phantom, tmp_path, all_labelled_train)
    train(config, tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge(config, tmp_path / "run")
        path = tmp_path / "run/audits.json"
        found = read_audits(path)
        assert {"split_leakage_test", "pseudo_labels"} < set(found)
        figures = found["pseudo_labels"].metrics
        assert 0 <= figures["hidden_dice"] <= 1
        assert figures["step"] == 2
        assert "labelled_foreground_share" in figures
        marked = Audit("ok", "kept", metrics={"step": 2})
        save_audits(path, {"pseudo_labels": marked})
        judge(config, tmp_path / "run", "val")
    assert read_audits(path)["pseudo_labels"] == marked
    assert "split_leakage_val" in read_audits(path)


def test_pseudo_labels_that_no_strategy_learns_from_are_shown_without_a_warning(tiny, tmp_path):
    """Two steps from chance, every label is background."""
    found = {}
    for strategy in ("mean_teacher", "supervised"):
        config = tiny(max_steps=2)
        config.strategies = {strategy: {}}
        train(config, tmp_path / strategy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            judge(config, tmp_path / strategy)
        found[strategy] = read_audits(tmp_path / strategy / "audits.json")["pseudo_labels"]
    assert found["mean_teacher"].status == "warning"
    assert found["supervised"].status == "ok"
    assert not found["supervised"].advice
    assert found["supervised"].summary.startswith("No strategy of this run learns from unlabelled")
    assert "collapsed" in found["supervised"].summary
    assert "confident_share" in found["supervised"].metrics


def test_a_manifest_that_is_gone_stops_no_evaluation(tiny, tmp_path, phantom):
    config = tiny(max_steps=1)
    train(config, tmp_path / "run")
    judged = prepare(read_manifest(phantom)[:1], config.data)
    config.data.manifest = str(tmp_path / "gone.csv")
    audit_evaluation(tmp_path / "run", config, judged, what="test")
    assert statuses(tmp_path / "run")["pseudo_labels"] == "not applicable"


def test_a_strategy_that_cannot_be_copied_is_trained_all_the_same(tiny, tmp_path, detached):
    class Holding(strategies[detached]):
        def terms(self, step):
            terms = super().terms(step)
            self.kept = step.out("unlabelled")["logits"]  # within the graph: no deepcopy
            return terms

    del strategies._factories[detached]
    strategies.register(detached)(Holding)
    config = tiny(max_steps=1)
    config.strategies = {"supervised": {}, detached: {}}
    with pytest.warns(UserWarning, match="no gradients could be measured"):
        assert train(config, tmp_path / "run").finished
    assert statuses(tmp_path / "run")["term_effect"] == "not applicable"
