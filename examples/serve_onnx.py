"""Serves what `visionattn export ... format=onnx` wrote, with ONNX Runtime, NumPy and Pillow: no torch, no visionattn.

python examples/serve_onnx.py model.onnx picture.png            # the classes of a picture, as JSON
python examples/serve_onnx.py model.onnx --port 8000            # curl --data-binary @picture.png localhost:8000
"""

import argparse
import io
import json
import math
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
from PIL import Image

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
LARGEST = 32 * 2**20


class Classifier:
    """The file knows how its pictures are prepared: size, crop, mean, standard deviation, names of the classes."""

    def __init__(self, path: str):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["visionattn"])

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """Shorter edge to size / crop_pct, the middle of it, normalised: (1, 3, H, W)."""
        height, width = self.about["image_size"]
        scale = max(height / picture.height, width / picture.width) / self.about.get("crop_pct", 1.0)
        size = (max(width, math.floor(picture.width * scale)), max(height, math.floor(picture.height * scale)))
        picture = picture.convert("RGB").resize(size, FILTERS[self.about.get("interpolation", "bilinear")])
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        pixels = np.asarray(picture.crop((left, top, left + width, top + height)), np.float32) / 255
        normal = (pixels - np.float32(self.about["mean"])) / np.float32(self.about["std"])
        return normal.transpose(2, 0, 1)[None]

    def __call__(self, picture: Image.Image) -> dict[str, float]:
        """The five likeliest classes and their probabilities."""
        logits = self.session.run(["logits"], {"images": self.prepare(picture)})[0][0]
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
    parser.add_argument("picture", nargs="?")
    parser.add_argument("--port", type=int)
    words = parser.parse_args()
    Handler.classifier = Classifier(words.model)
    if words.port is None:
        print(json.dumps(Handler.classifier(Image.open(words.picture))))
    else:
        ThreadingHTTPServer(("127.0.0.1", words.port), Handler).serve_forever()
