"""Segmentations as 3D Slicer writes them, byte by byte."""

import numpy as np


def write_seg(path, layers, segments, *, place=0, encode=None, origin=(0, 0, 0)):
    """Write a `.seg.nrrd` of label maps `(X, Y, Z)`; several become a 4D file.

    A segment is name, layer and label value; None leaves the last two out, as older files do.
    """
    directions = ["(0.7,0,0)", "(0,0.8,0)", "(0,0,2.5)"]
    data, kinds = np.asarray(layers[0], np.uint8), ["domain"] * 3
    if len(layers) > 1:
        data = np.stack(layers, place).astype(np.uint8)
        directions.insert(place, "none")
        kinds.insert(place, "list")
    lines = [
        "NRRD0004", "type: unsigned char", f"dimension: {data.ndim}",
        "space: left-posterior-superior", f"sizes: {' '.join(map(str, data.shape))}",
        f"space directions: {' '.join(directions)}", f"kinds: {' '.join(kinds)}",
        f"encoding: {'gzip' if encode else 'raw'}",
        f"space origin: ({','.join(map(str, origin))})",
    ]  # fmt: skip
    for number, (name, layer, value) in enumerate(segments):
        x, y, z = (size - 1 for size in layers[0].shape)
        lines += [f"Segment{number}_ID:=Segment_{number + 1}", f"Segment{number}_Name:={name}",
                  f"Segment{number}_Extent:=0 {x} 0 {y} 0 {z}"]  # fmt: skip
        if layer is not None:
            lines += [f"Segment{number}_Layer:={layer}", f"Segment{number}_LabelValue:={value}"]
    voxels = data.tobytes(order="F")
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + (encode(voxels) if encode else voxels))
    return path
