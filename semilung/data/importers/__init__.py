"""Importers of the field's formats: a user's data becomes a manifest."""

from semilung.data.importers.importer import Importer, import_cohort, importers
from semilung.data.importers.lidc.lidc_importer import LidcIdri

__all__ = ["Importer", "LidcIdri", "import_cohort", "importers"]
