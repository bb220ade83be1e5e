"""Family, unit and IBSI code of each radiomic feature."""

from __future__ import annotations

import pandas as pd

from semilung.radiomics.mirp_objects import FAMILIES, ibsi_features, mirp_settings
from semilung.radiomics.radiomics_settings import RadiomicsSettings

NONE = "1"
"""The unit of a number without one."""

UNITS = {
    **dict.fromkeys(("morph_volume", "morph_vol_approx"), "mm3"),
    **dict.fromkeys(("morph_area_mesh",), "mm2"),
    **dict.fromkeys(("morph_av",), "1/mm"),
    **dict.fromkeys(("morph_com", "morph_diam"), "mm"),
    **dict.fromkeys(("morph_pca_maj_axis", "morph_pca_min_axis", "morph_pca_least_axis"), "mm"),
    "morph_integ_int": "HU mm3",
    "stat_var": "HU2",
    "stat_energy": "HU2",
    **dict.fromkeys(("stat_skew", "stat_kurt", "stat_cov", "stat_qcod"), NONE),
    "ih_var": "level2",
    **dict.fromkeys(("ih_skew", "ih_kurt", "ih_cov", "ih_qcod", "ih_uniformity"), NONE),
    "ih_entropy": "bit",
    **dict.fromkeys(("ih_max_grad", "ih_min_grad"), "voxels/level"),
    **dict.fromkeys(("cm_joint_avg", "cm_diff_avg", "cm_sum_avg", "cm_dissimilarity"), "level"),
    **dict.fromkeys(("cm_joint_var", "cm_diff_var", "cm_sum_var", "cm_contrast"), "level2"),
    **dict.fromkeys(("cm_auto_corr", "cm_clust_tend"), "level2"),
    "cm_clust_shade": "level3",
    "cm_clust_prom": "level4",
    **dict.fromkeys(("cm_joint_entr", "cm_diff_entr", "cm_sum_entr"), "bit"),
    **dict.fromkeys(("rlm_rl_entr", "szm_zs_entr", "dzm_zd_entr", "ngl_dc_entr"), "bit"),
    **dict.fromkeys(("rlm_gl_var", "szm_gl_var", "dzm_gl_var", "ngl_gl_var"), "level2"),
}
"""Unit of the features that have not the one of their family."""

FAMILY_UNITS = {"stat": "HU", "ih": "level"}
"""Unit of a family's features; all others have none. Lengths of runs are counted in voxels."""


def feature_table() -> pd.DataFrame:
    """Return a row a feature: `feature, family, unit, ibsi`.

    `level` is a grey level, a bin of the discretised HU, numbered from 1; `1` is no unit. Counts of
    voxels, runs and zones, and emphases, which are means of their powers, have none.

    Raises:
        UserError: mirp is not installed.

    Example:
        >>> feature_table().iloc[0].tolist()
        ['morph_volume', 'morphological', 'mm3', 'RNU0']
    """
    features = ibsi_features(mirp_settings(RadiomicsSettings()))
    rows = []
    for feature in features:
        name, (first, *_) = feature.abbr_name, feature.abbr_name.split("_")
        unit = UNITS.get(name, FAMILY_UNITS.get(first, NONE))
        rows.append((name, FAMILIES[first], unit, feature.ibsi_id))
    return pd.DataFrame(rows, columns=["feature", "family", "unit", "ibsi"])
