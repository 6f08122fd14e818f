"""Read a pickled torch module as plain data: its classes are never loaded, and none of its code can run.

`torch.save(module)` writes a pickle that names classes and functions. Torch's own reader of untrusted files
(`weights_only`) reads it here, with a list of allowed names that all mean the same class, `Stored`, which only keeps
what it is given. Any other name is refused.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.tensor_files import LIBRARY_ERRORS, check_is_file

_TORCH_NAMES = (
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.pooling.AvgPool2d",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.backends.thnn._get_thnn_function_backend",  # every module of torch before 1.3 has one
    # A list of labels can be a numpy array; numpy 1 and 2 name their functions differently.
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
)
_DEEPEST = 20  # levels of modules within modules; DenseNet has 4
_LEGACY_PICKLES = 4  # of a file of torch before 1.6: magic number, protocol, system, object

_Operation = tuple[str, bytes]  # of a pickle: its name, and its bytes with its argument


class Stored:
    """Stands for any object of an allowed class: keeps the state that the file gives it, and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def attribute(self, name: str) -> Any:
        """Return one attribute of the object that was saved, or None."""
        return self.state.get(name) if isinstance(self.state, dict) else None

    def labels(self, name: str) -> tuple[str, ...] | None:
        """Return an attribute that is a list, tuple or numpy array of texts; None if it is anything else."""
        value = self.attribute(name)
        if isinstance(value, Stored) and isinstance(value.state, tuple) and value.state:
            value = value.state[-1]  # the content of an array of Python objects
        if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
            return tuple(value)
        return None


def read_module(path: Path | str, classes: Collection[str]) -> Any:
    """Return the content of a file of `torch.save`: modules, which become `Stored`, or a dict of tensors.

    `classes` are full names that the file may use, besides torch's layers. Files of all versions of torch can be read.
    Raises ModelError if the file is damaged, or if it names anything else: then it holds other objects, or code.
    """
    path, names = check_is_file(path), (*_TORCH_NAMES, *classes)
    try:
        source = path if zipfile.is_zipfile(path) else io.BytesIO(_without_module_ids(path.read_bytes()))
        with torch.serialization.safe_globals([(Stored, name) for name in names]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True)
    except (*LIBRARY_ERRORS, OSError) as error:
        # Without torch's own message, which advises to run the code in the file.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it names {named[1]}, which is no part of such a network" if named else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as weights ({reason}): it is damaged or holds other objects. No code in it "
            f"was run; get the file again from its publisher"
        ) from error


def state_dict(module: Stored) -> dict[str, torch.Tensor]:
    """Return parameters and buffers of a stored module and of the modules in it, named as torch's state dict does.

    Raises ModelError if it is not built as torch's modules are.
    """
    return dict(_tensors(module, "", 0))


def _tensors(module: Stored, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    parts = [module.attribute(name) for name in ("_parameters", "_buffers", "_modules")]
    if depth > _DEEPEST or not all(isinstance(part, dict) for part in parts):
        raise ModelError(f"{prefix or 'its object'} is not built as torch's modules are")
    parameters, buffers, modules = parts
    for name, value in (*parameters.items(), *buffers.items()):
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value.detach()
    for name, inner in modules.items():
        if isinstance(inner, Stored):
            yield from _tensors(inner, f"{prefix}{name}.", depth + 1)


def _without_module_ids(content: bytes) -> bytes:
    """Return a file of torch before 1.6 with each persistent id of a class replaced by the class itself.

    Those files store a class as the persistent id ("module", class, file, source code), which `weights_only` does not
    know. The result is read by `weights_only` all the same, so a mistake here cannot make a file run anything.
    """
    stream = io.BytesIO(content)
    for _ in range(_LEGACY_PICKLES - 1):
        _operations(stream, content)
    begin = stream.tell()
    written: list[_Operation] = []
    for operation in _operations(stream, content):
        class_id = _class_id(written) if operation[0] == "BINPERSID" else None
        if class_id:
            begin_of_id, named = class_id
            # File and source code go, with their places in the pickle's memory: only ids of classes recall those.
            written[begin_of_id:] = named
        else:
            written.append(operation)
    return content[:begin] + b"".join(piece for _, piece in written) + content[stream.tell() :]


def _operations(stream: io.BytesIO, content: bytes) -> list[_Operation]:
    """Return the operations of the next pickle, each with its bytes."""
    found = [(operation.name, position) for operation, _, position in pickletools.genops(stream)]
    ends = [position for _, position in found[1:]] + [stream.tell()]
    return [(name, content[begin:end]) for (name, begin), end in zip(found, ends, strict=True)]


def _class_id(operations: list[_Operation]) -> tuple[int, list[_Operation]] | None:
    """Return where the id of a class at the end begins, and the operations that name the class.

    None if the last id is none of four items: that of a tensor's bytes has more.
    """
    items = []
    last, position = _one_before(operations, len(operations))
    for _ in range(4):
        item, position = _one_before(operations, position)
        items.append(item)
    if last[0][0] != "TUPLE" or position < 1 or operations[position - 1][0] != "MARK":
        return None
    return position - 1, items[2]


def _one_before(operations: list[_Operation], position: int) -> tuple[list[_Operation], int]:
    """Return the operation before a position, with the one that remembers its result, and its own position."""
    begin = position - 1
    if operations[begin][0] in ("BINPUT", "LONG_BINPUT"):
        begin -= 1
    return operations[begin:position], begin
