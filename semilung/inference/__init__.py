"""Inference: sliding-window prediction, post-processing, and the geometry of the scan."""

from semilung.data.content.components import connected_components
from semilung.inference.inference_config import InferenceConfig
from semilung.inference.outputs import class_probabilities, foreground_probability
from semilung.inference.postprocess import to_mask
from semilung.inference.predictor import Predictor
from semilung.inference.sliding_window import predict_maps, predict_probability

__all__ = [
    "InferenceConfig",
    "Predictor",
    "class_probabilities",
    "connected_components",
    "foreground_probability",
    "predict_maps",
    "predict_probability",
    "to_mask",
]
