"""Serve a classifier from `visionattn export ... format=onnx` with ONNX Runtime, NumPy and Pillow alone.

python examples/serve_onnx.py model.onnx image.png            # the classes of an image, as JSON
python examples/serve_onnx.py model.onnx --port 8000          # curl --data-binary @image.png localhost:8000
"""

import argparse
import io
import json
import math
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
from PIL import Image

FILTERS = {filter.name.lower(): filter for filter in Image.Resampling}
LARGEST = 32 * 2**20


class Classifier:
    """A classifier whose file states the preprocessing: size, crop, mean, standard deviation, class names."""

    def __init__(self, path: str):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["visionattn"])

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Resize, pad, crop and normalize as the file says: (1, 3, H, W)."""
        image = image.convert("RGB")
        image = image.resize(
            self.resized(image.width, image.height), FILTERS[self.about.get("interpolation", "bilinear")]
        )
        height, width = self.about["image_size"]
        high, wide = max(height - image.height, 0), max(width - image.width, 0)
        if high or wide:  # a border in the mean color
            color = tuple(round(255 * value) for value in self.about["mean"])
            padded = Image.new("RGB", (image.width + wide, image.height + high), color)
            padded.paste(image, (wide // 2, high // 2))
            image = padded
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
        normal = (pixels - np.float32(self.about["mean"])) / np.float32(self.about["std"])
        return normal.transpose(2, 0, 1)[None]

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image is resized to: the size over ``crop_pct``, as ``crop_mode`` says."""
        share, mode = self.about.get("crop_pct", 1.0), self.about.get("crop_mode", "center")
        high, wide = (math.floor(edge / share) for edge in self.about["image_size"])
        if mode == "squash":
            return wide, high
        if mode == "center" and high == wide:  # the shorter edge is the size, the longer one is rounded down
            short, long = min(width, height), int(high * max(width, height) / min(width, height))
            return (high, long) if width == short else (long, high)
        choose = max if mode == "border" else min
        ratio = choose(height / high, width / wide)
        return round(width / ratio), round(height / ratio)

    def __call__(self, image: Image.Image) -> dict[str, float]:
        """The five most probable classes and their probabilities."""
        logits = self.session.run(["logits"], {"images": self.prepare(image)})[0][0]
        odds = np.exp(logits - logits.max())
        names = self.about["labels"] or [str(number) for number in range(len(odds))]
        return {names[i]: round(float(odds[i] / odds.sum()), 6) for i in odds.argsort()[::-1][:5]}


class Handler(BaseHTTPRequestHandler):
    classifier: Classifier

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        try:
            if length > LARGEST:
                raise ValueError(f"more than {LARGEST} bytes")
            status, answer = 200, self.classifier(Image.open(io.BytesIO(self.rfile.read(length))))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            status, answer = 400, {"error": str(error)}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("image", nargs="?")
    parser.add_argument("--port", type=int)
    words = parser.parse_args()
    Handler.classifier = Classifier(words.model)
    if words.port is None:
        print(json.dumps(Handler.classifier(Image.open(words.image))))
    else:
        ThreadingHTTPServer(("127.0.0.1", words.port), Handler).serve_forever()
