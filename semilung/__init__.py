"""Semi- and weakly-supervised lung-nodule segmentation on 3D CT with a healthy cohort."""

__version__ = "0.1.0"
