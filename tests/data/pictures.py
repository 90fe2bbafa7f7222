"""Files of images with more bits and channels than Pillow writes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATION = 274


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def with_orientation(image: Image.Image, orientation: int, form: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, form, exif=exif)


def deep_png(values: np.ndarray) -> bytes:
    """16 bits, ``(H, W, C)``, of 1 to 4 channels."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*parts, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def narrow_png(values: np.ndarray, bits: int) -> bytes:
    """1, 2, 4 or 8 bits of gray, ``(H, W)``."""
    height, width = values.shape
    per_byte = 8 // bits
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = values
    shifts = np.arange(per_byte - 1, -1, -1) * bits
    packed = (padded.reshape(height, -1, per_byte) << shifts).sum(2).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*parts, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    values: np.ndarray,
    order: str = "<",
    deflate: bool = False,
    predictor: int = 1,
    planar: bool = False,
    tile: int = 0,
    tags: dict | None = None,
) -> bytes:
    """``(H, W, C)`` of any number type; ``tags`` are added."""
    height, width, channels = values.shape
    planes = [values[..., i : i + 1] for i in range(channels)] if planar else [values]
    content = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    offsets, counts = [], []
    for block in (block for plane in planes for block in _blocks(plane, tile)):
        data = _packed(block, order, predictor)
        data = zlib.compress(data) if deflate else data
        offsets.append(len(content))
        counts.append(len(data))
        content += data + bytes(len(data) % 2)
    size = values.dtype.itemsize
    entries = {256: width, 257: height, 258: (8 * size,) * channels, 259: 8 if deflate else 1, 317: predictor}
    entries |= {262: 2 if channels >= 3 else 1, 277: channels, 284: 2 if planar else 1}
    entries |= {339: ({"u": 1, "i": 2, "f": 3}[values.dtype.kind],) * channels}
    entries |= {338: (0,) * (channels - 3)} if channels > 3 else {}
    places = {322: tile, 323: tile, 324: tuple(offsets), 325: tuple(counts)}
    entries |= places if tile else {278: 5, 273: tuple(offsets), 279: tuple(counts)}
    at = len(content)
    content += _directory(entries | (tags or {}), at, order)
    content[4:8] = struct.pack(order + "I", at)
    return bytes(content)


def _blocks(plane: np.ndarray, tile: int):
    height, width, channels = plane.shape
    if not tile:
        yield from (plane[row : row + 5] for row in range(0, height, 5))
        return
    for row in range(0, height, tile):
        for column in range(0, width, tile):
            whole = np.zeros((tile, tile, channels), plane.dtype)
            part = plane[row : row + tile, column : column + tile]
            whole[: part.shape[0], : part.shape[1]] = part
            yield whole


def _packed(block: np.ndarray, order: str, predictor: int) -> bytes:
    if predictor == 2:
        block = np.concatenate([block[:, :1], block[:, 1:] - block[:, :-1]], axis=1)
    if predictor < 3:
        return block.astype(block.dtype.newbyteorder(order)).tobytes()
    rows, columns, channels = block.shape
    size = block.dtype.itemsize
    high_first = np.frombuffer(block.astype(block.dtype.newbyteorder(">")).tobytes(), np.uint8)
    planes = high_first.reshape(rows, columns * channels, size).transpose(0, 2, 1).reshape(rows, -1, channels)
    return np.concatenate([planes[:, :1], planes[:, 1:] - planes[:, :-1]], axis=1).tobytes()


def _directory(entries: dict, at: int, order: str) -> bytes:
    after = at + 2 + 12 * len(entries) + 4
    head, lists = b"", b""
    for number, value in sorted(entries.items()):
        values = value if isinstance(value, tuple) else (value,)
        short = number in (258, 338, 339)
        packed = b"".join(struct.pack(order + ("H" if short else "I"), one) for one in values)
        head += struct.pack(order + "HHI", number, 3 if short else 4, len(values))
        head += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", after + len(lists))
        lists += packed + bytes(len(packed) % 2) if len(packed) > 4 else b""
    return struct.pack(order + "H", len(entries)) + head + bytes(4) + lists
