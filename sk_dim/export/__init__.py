"""Keep what was learnt in files for other programs, and for people you do not know.

:func:`to_onnx` writes a file that ONNX runs, :func:`to_torch` returns a plain module of
torch, and :func:`save_encoder` and :func:`load_encoder` use safetensors, which holds
numbers and no code. `SKOPS_TRUSTED` is what ``skops.io.load(path, trusted=...)`` needs
to load a transformer or a classifier. All but :func:`to_torch` need packages of their
own (``pip install "sk_dim[export]"``).
"""

from sk_dim.export._encoder_file import load_encoder, save_encoder
from sk_dim.export._onnx import to_onnx
from sk_dim.export._torch import to_torch
from sk_dim.export._trusted import SKOPS_TRUSTED

__all__ = ["SKOPS_TRUSTED", "load_encoder", "save_encoder", "to_onnx", "to_torch"]
