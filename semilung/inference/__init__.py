"""Inference: sliding-window prediction, post-processing, and the geometry of the scan."""

from semilung.inference.inference_config import InferenceConfig
from semilung.inference.net_ensemble import foreground_probability
from semilung.inference.postprocess import connected_components, to_mask
from semilung.inference.predict import cut, predict_scan, probability_map, segment
from semilung.inference.sliding_window import predict_probability

__all__ = [
    "InferenceConfig",
    "connected_components",
    "cut",
    "foreground_probability",
    "predict_probability",
    "predict_scan",
    "probability_map",
    "segment",
    "to_mask",
]
