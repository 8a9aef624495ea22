"""Python for those who load an export without tltui. The tests run it as it stands in the card."""

from __future__ import annotations

from engine.export import onnx_file
from engine.export.plain_network import PlainNetwork

_BEFORE = """\
import json
import sys

import numpy as np
{imports}
from images import centre_crop, open_image, prepare  # images.py, beside this file

with open("export.json", encoding="utf-8") as file:
    about = json.load(file)
how = about["preprocessing"]


def pixels(path):
    with open(path, "rb") as file:
        image = prepare(open_image(file.read()), how["resize_size"], how["interpolation"])
    return centre_crop(image, how["image_size"]).transpose(2, 0, 1)


images = np.stack([pixels(path) for path in sys.argv[1:]])
"""
_SAFETENSORS = """\
{network}
network.load_state_dict(load_file("model.safetensors"))
network.eval()
mean, std = (torch.tensor(how[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
with torch.inference_mode():
    logits = network((torch.from_numpy(images) / 255 - mean) / std).numpy()
"""
_PT2 = """\
network = torch.export.load("model.pt2").module()
with torch.inference_mode():
    logits = network(torch.from_numpy(images)).numpy()
"""
_ONNX = f"""\
session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["{onnx_file.OUTPUT}"], {{"{onnx_file.INPUT}": images}})
"""
_AFTER = """\
probabilities = np.exp(logits - logits.max(1, keepdims=True))
probabilities /= probabilities.sum(1, keepdims=True)
for path, row in zip(sys.argv[1:], probabilities):
    print(path, about["classes"][row.argmax()], f"{row.max():.6f}", sep="\\t")
"""


def snippet(format_name: str, plain: PlainNetwork) -> str:
    """A script that prints path, class and probability of the images that it is given."""
    match format_name:
        case "safetensors":
            imports = f"import {plain.library}\nimport torch\nfrom safetensors.torch import load_file\n"
            body = _SAFETENSORS.format(network="\n".join(plain.code))
        case "pt2":
            imports, body = "import torch\n", _PT2
        case _:
            imports, body = "import onnxruntime\n", _ONNX
    return _BEFORE.format(imports=imports) + body + _AFTER
