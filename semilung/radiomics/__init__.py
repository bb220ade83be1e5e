"""Radiomics of nodules: IBSI features of given or predicted masks, and their stability."""

from semilung.radiomics.feature_table import feature_table
from semilung.radiomics.icc import icc_1_1
from semilung.radiomics.radiomic_features import radiomic_features
from semilung.radiomics.radiomics_settings import RadiomicsSettings
from semilung.radiomics.stability import stability_table, stable_features

__all__ = [
    "RadiomicsSettings",
    "feature_table",
    "icc_1_1",
    "radiomic_features",
    "stability_table",
    "stable_features",
]
