"""Boxes of a frame -> a list of features, from an exported file, as Ultralytics' BoT-SORT asks for them.

    python examples/onnx_for_ultralytics.py artifacts/walkers/export/reid.onnx frame.jpg 35,100,50,160 120,100,60,175

Ultralytics' documentation of trackers: with ``with_reid: True`` the tracker calls ``encoder(img, dets)``. ``img`` is a
frame (H, W, 3) in BGR order, and each row of ``dets`` begins with the centre, width and height of a box in pixels; the
answer is a list with one feature per box. So with Ultralytics installed, after the tracker is made:

    tracker.encoder = BoxEncoder("reid.onnx")

By the same documentation, ``model:`` of the tracker's YAML may name a file that is no .pt; crops then go to the file
as RGB (batch, 3, height, width) in 0..1, which is what the exported file takes. This program needs NumPy, OpenCV and
onnxruntime, and nothing of Ultralytics' or of ccaf-pipeline's.
"""

import argparse

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray


class BoxEncoder:
    """The encoder of a tracker.

    Args:
        path: Of ``ccaf-pipeline export --input uint8``, or of ``--input float``.
    """

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = self.session.get_inputs()[0]
        self.whole_numbers = given.type == "tensor(uint8)"
        self.height, self.width = given.shape[1:3] if self.whole_numbers else given.shape[2:]

    def crop(self, img: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Centre, width and height of a box -> RGB crop (height, width, 3)."""
        corners = np.round([box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2])
        left, right = np.clip(corners[[0, 2]].astype(int), 0, img.shape[1])
        top, bottom = np.clip(corners[[1, 3]].astype(int), 0, img.shape[0])
        if left >= right or top >= bottom:
            return np.zeros((self.height, self.width, 3), dtype=np.uint8)
        cut = img[top:bottom, left:right]
        shrinks = cut.shape[0] * cut.shape[1] > self.height * self.width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC  # as the images that were trained on
        resized = cv2.resize(cut, (self.width, self.height), interpolation=how)
        return np.asarray(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def __call__(self, img: NDArray[np.uint8], dets: NDArray[np.floating]) -> list[NDArray[np.float32]]:
        """A BGR frame and boxes (N, 4 or more) -> N features (D,) of length 1."""
        if not len(dets):
            return []
        crops = np.stack([self.crop(img, box) for box in np.asarray(dets, dtype=np.float64)])
        given = crops if self.whole_numbers else crops.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        (features,) = self.session.run(None, {"images": given})
        return list(features)


def main() -> None:
    """Print how alike the people in some boxes of a frame are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="reid.onnx of ccaf-pipeline export")
    parser.add_argument("frame", help="an image")
    parser.add_argument("boxes", nargs="+", metavar="x,y,width,height", help="centre and sides in pixels")
    given = parser.parse_args()
    boxes = np.array([[float(number) for number in box.split(",")] for box in given.boxes])
    features = np.stack(BoxEncoder(given.file)(np.asarray(cv2.imread(given.frame), dtype=np.uint8), boxes))
    print(f"{len(features)} features of {features.shape[1]} numbers; their cosines:")
    for row in features @ features.T:
        print(" ".join(f"{cosine:6.3f}" for cosine in row))


if __name__ == "__main__":
    main()
