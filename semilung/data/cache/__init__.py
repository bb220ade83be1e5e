"""The prepared cache: volumes oriented, resampled, clipped and cropped once, then kept."""
