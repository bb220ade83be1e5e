"""One function a command, as `semilung.api.evaluate.evaluate`; `semilung` offers the main ones."""
