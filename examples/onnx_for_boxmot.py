"""Boxes of a frame -> features, from an exported file, as trackers of BoxMOT ask for them.

    python examples/onnx_for_boxmot.py artifacts/walkers/export/reid.onnx frame.jpg 10,20,60,180 90,15,150,190

BoxMOT's documentation has two places for features of one's own, and this file serves both: a tracker calls
``get_features(xyxys, img)`` of its ReID model, and some take ``update(dets, img, embs)``. In both, ``img`` is a frame
(H, W, 3) in OpenCV's BGR order, boxes are ``x1, y1, x2, y2`` in pixels, one row per detection, and the features are
(N, D) of length 1. So with BoxMOT installed:

    tracker.model = BoxFeatures("reid.onnx")                       # a tracker that asks its ReID model
    tracker.update(dets, frame, features.get_features(dets[:, :4], frame))      # one that takes features

BoxMOT's own loader of .onnx files does not serve: it normalises colours before the network, and the exported file does
so inside. This program needs NumPy, OpenCV and onnxruntime, and nothing of BoxMOT's or of ccaf-pipeline's.
"""

import argparse

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

LARGEST_BATCH = 64


class BoxFeatures:
    """The ReID model of a tracker: crops of a frame in, features out.

    Args:
        path: Of ``ccaf-pipeline export --input float``.
    """

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.height, self.width = self.session.get_inputs()[0].shape[2:]
        self.dimension = self.session.get_outputs()[0].shape[1]

    def get_crops(self, xyxys: NDArray[np.floating], img: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Boxes (N, 4) of a BGR frame -> RGB crops (N, 3, height, width) in 0..1; boxes are cut off at its edges."""
        crops = np.zeros((len(xyxys), self.height, self.width, 3), dtype=np.float32)
        for row, box in enumerate(np.round(xyxys).astype(int)):
            left, right = np.clip(box[[0, 2]], 0, img.shape[1])
            top, bottom = np.clip(box[[1, 3]], 0, img.shape[0])
            if left < right and top < bottom:  # else it is outside the frame, and stays black
                crop = img[top:bottom, left:right]
                shrinks = crop.shape[0] * crop.shape[1] > self.height * self.width
                how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC  # as the images that were trained on
                crops[row] = cv2.resize(crop, (self.width, self.height), interpolation=how)[:, :, ::-1]
        crops /= 255
        return crops.transpose(0, 3, 1, 2)

    def get_features(self, xyxys: NDArray[np.floating], img: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Boxes (N, 4) of a BGR frame -> features (N, D) of length 1; N may be 0."""
        crops = self.get_crops(np.asarray(xyxys).reshape(-1, 4), img)
        parts = [np.zeros((0, self.dimension), dtype=np.float32)]
        for start in range(0, len(crops), LARGEST_BATCH):
            parts += self.session.run(None, {"images": crops[start : start + LARGEST_BATCH]})
        return np.concatenate(parts)


def main() -> None:
    """Print how alike the people in some boxes of a frame are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="reid.onnx of ccaf-pipeline export")
    parser.add_argument("frame", help="an image")
    parser.add_argument("boxes", nargs="+", metavar="x1,y1,x2,y2", help="in pixels")
    given = parser.parse_args()
    boxes = np.array([[float(number) for number in box.split(",")] for box in given.boxes])
    features = BoxFeatures(given.file).get_features(boxes, np.asarray(cv2.imread(given.frame), dtype=np.uint8))
    print(f"{len(features)} features of {features.shape[1]} numbers; their cosines:")
    for row in features @ features.T:
        print(" ".join(f"{cosine:6.3f}" for cosine in row))


if __name__ == "__main__":
    main()
