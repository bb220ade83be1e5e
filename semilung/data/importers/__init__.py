"""Importers of the field's formats: a user's data becomes a manifest."""

from semilung.data.importers.importer import Importer, import_cohort, importers

__all__ = ["Importer", "import_cohort", "importers"]
