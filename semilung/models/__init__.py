"""Networks: reversible stage, partially reversible U-Net, and the registry of models."""

from semilung.models.build import Segmenter, build_model, models
from semilung.models.footprint import Footprint, common_footprint
from semilung.models.heads import Head
from semilung.models.reversible import Coupling, ReversibleStage
from semilung.models.unet import ReversibleUNet3d

__all__ = [
    "Coupling",
    "Footprint",
    "Head",
    "ReversibleStage",
    "ReversibleUNet3d",
    "Segmenter",
    "build_model",
    "common_footprint",
    "models",
]
