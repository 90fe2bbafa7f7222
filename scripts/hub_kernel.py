"""Write the attention operators as a repository of the Hugging Face kernel Hub, which ``kernels.get_kernel`` loads.

usage: python scripts/hub_kernel.py DIR [VERSION]

    from kernels import get_local_kernel                       # pip install kernels
    attention = get_local_kernel(Path("DIR"))
    attention.window_attention(q, k, v, window=(7, 7), shift=(3, 3), bias=table)

The operators are Python: the C++ is compiled where it runs, the kernels for a GPU are Triton's. So there are two
variants, ``build/torch-cpu`` and ``build/torch-cuda``, with the files of ``visionattn.kernels``, whose imports are made
relative. The Hub loads a kernel under a name of its own, beside other versions of it and beside an installed
visionattn; the name holds a hash of the files, and torch's operators are registered in a namespace of that name.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "visionattn"
NAME, LICENSE = "visionattn-kernels", "apache-2.0"
IMPORT = re.compile(r"^(\s*from )visionattn\.(kernels\.?)?([\w.]*)(?= import )", re.MULTILINE)
CARD = f"""---
license: {LICENSE}
tags: [kernel]
---

# visionattn's attention operators

Window, neighborhood, token and routed attention and a selective scan, forward and backward, for CPUs (C++, compiled on
first use) and for GPUs (Triton).

```python
from kernels import get_kernel

attention = get_kernel("OWNER/{NAME}", version=VERSION, trust_remote_code=True)
out = attention.neighborhood_attention(q, k, v, kernel_size=7, dilation=2)  # (B, H, W, N, D)
```
"""
OLDER = '''"""For versions of the package kernels that look for a package in the folder of a variant."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

name = "{id}"
if name not in sys.modules:
    spec = spec_from_file_location(name, Path(__file__).resolve().parents[1] / "__init__.py")
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
__all__ = sys.modules[name].__all__
globals().update({{one: getattr(sys.modules[name], one) for one in __all__}})
'''


def relative(text: str, depth: int) -> str:
    """A file's text with relative imports; ``depth`` folders lie between it and the folder of the kernel."""
    return IMPORT.sub(lambda found: f"{found[1]}{'.' * (depth + 1)}{found[3]}", text)


def sources() -> dict[str, bytes]:
    """Path in a variant's folder -> content."""
    files = {"errors.py": (PACKAGE / "errors.py").read_bytes()}
    for path in sorted((PACKAGE / "kernels").rglob("*.*")):
        place = path.relative_to(PACKAGE / "kernels")
        if path.suffix == ".py":
            files[place.as_posix()] = relative(path.read_text(encoding="utf-8"), len(place.parts) - 1).encode()
        elif path.suffix in (".cpp", ".h"):
            files[place.as_posix()] = path.read_bytes()
    return files


def write(folder: Path, version: int) -> None:
    """Write the repository.

    Args:
        folder: made where it is not there.
        version: of the interface, a whole number; it is also the Hub's branch, ``v<version>``.

    Raises:
        FileExistsError: the folder holds a kernel already.
    """
    (folder / "build").mkdir(parents=True)
    card = CARD.replace("VERSION", str(version))
    (folder / "README.md").write_text(card, encoding="utf-8")
    files = sources()
    fingerprint = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:10]
    package = NAME.replace("-", "_")
    for backend in ("cpu", "cuda"):
        called = f"_{package}_{backend}_{fingerprint}"
        held = files | {f"{package}/__init__.py": OLDER.format(id=called).encode()}
        digests = {name: base64.b64encode(hashlib.sha256(held[name]).digest()).decode() for name in sorted(held)}
        about = {"name": NAME, "id": called, "version": version, "license": LICENSE, "python-depends": []}
        about |= {"backend": {"type": backend}, "digest": {"algorithm": "sha256", "files": digests}}
        held["metadata.json"] = json.dumps(about, indent=1).encode()
        for name, content in held.items():
            path = folder / "build" / f"torch-{backend}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    write(Path(sys.argv[1]), int((sys.argv[2:] or ["1"])[0]))
    print(f"wrote {sys.argv[1]}")
