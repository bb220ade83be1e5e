"""Properties of the voxels themselves: labels, Hounsfield units, lungs."""
