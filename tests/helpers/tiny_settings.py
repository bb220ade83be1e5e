"""Overrides of a training that takes seconds, for tests of the command line."""

TINY = [
    "trainer=debug",
    "trainer.accelerator=cpu",
    "model.widths=[4,8]",
    "model.depth=1",
    "data.spacing_mm=[4,4,4]",
    "data.crop=[16,16,16]",
    "data.batch.labelled=1",
    "data.batch.unlabelled=1",
    "data.batch.healthy=1",
    "data.workers=0",
    "inference.window=[16,16,16]",
]
