"""Importers of the field's formats: a user's data becomes a manifest."""

from semilung.data.importers.csv_table import CsvTable
from semilung.data.importers.dataset_json import Decathlon, NnUnet
from semilung.data.importers.dicom.dicom_importer import DicomFolders
from semilung.data.importers.dicom.mask_importers import DicomSeg, RtStruct
from semilung.data.importers.folder import Folder
from semilung.data.importers.importer import Importer, import_cohort, importers
from semilung.data.importers.lidc.lidc_importer import LidcIdri
from semilung.data.importers.luna16 import Luna16

__all__ = [
    "CsvTable",
    "Decathlon",
    "DicomFolders",
    "DicomSeg",
    "Folder",
    "Importer",
    "LidcIdri",
    "Luna16",
    "NnUnet",
    "RtStruct",
    "import_cohort",
    "importers",
]
