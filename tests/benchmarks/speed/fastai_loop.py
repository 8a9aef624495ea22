"""fastai's ``vision_learner`` as its guides use it; ``python fastai_loop.py SPEC.json``.

"all" is ``fine_tune``: one epoch of the head, the others of everything. The head alone and the last stage are what
``fine_tune`` does before it unfreezes: ``freeze_to`` and ``fit_one_cycle``. fastai's own three layer groups end
elsewhere than the stage that the others train, so the groups are given. Each epoch's end is told as a line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torchvision
from fastai.vision.all import (
    Callback,
    CropPad,
    ImageDataLoaders,
    L,
    Normalize,
    Resize,
    ResizeMethod,
    accuracy,
    params,
    set_seed,
    vision_learner,
)
from PIL import Image
from torch import nn

WORKERS = 2


def tell(**facts: object):
    print(json.dumps({"time": time.time(), **facts}), flush=True)  # noqa: T201


class TellEpochs(Callback):
    order = 60  # after the Recorder

    def after_epoch(self):
        tell(what="epoch", val_accuracy=float(self.recorder.values[-1][-1]), loss=float(self.recorder.values[-1][-2]))


def main(spec: dict):
    set_seed(spec["seed"])
    resample = Image.Resampling[spec["interpolation"].upper()]
    loaders = ImageDataLoaders.from_folder(
        spec["images"],
        train="train",
        valid="val",
        item_tfms=[Resize(spec["resize"], ResizeMethod.Squish, resamples=(resample, resample)), CropPad(spec["size"])],
        batch_tfms=Normalize.from_stats(spec["mean"], spec["std"]),
        bs=spec["batch_size"],
        drop_last=False,
        num_workers=WORKERS,
        device=torch.device(spec["device"]),
    )
    architecture = spec["name"] if spec["library"] == "timm" else getattr(torchvision.models, spec["name"])
    learner = vision_learner(
        loaders, architecture, pretrained=False, normalize=False, metrics=accuracy, splitter=lambda m: split(m, spec)
    )
    body = learner.model[0]
    weights = torch.load(spec["weights"])
    body.load_state_dict(dict(zip(body.state_dict(), weights.values(), strict=True)))
    epochs = spec["epochs"]
    with learner.no_bar(), learner.no_logging(), learner.added_cbs(TellEpochs()):
        tell(what="ready")
        if not spec["trains"]:
            learner.fine_tune(epochs - 1)
        else:
            learner.freeze_to(-1 if spec["trains"] == [spec["head"]] else -2)
            learner.fit_one_cycle(epochs, slice(2e-3))


def split(model: nn.Module, spec: dict):
    """Layer groups: the rest of the body, the last stage, the head."""
    paths = [path for path in spec["trains"] if path != spec["head"]]
    if spec["library"] == "timm":
        stage = [model[0].model.get_submodule(path) for path in paths]
    else:
        stage = [model[0][-1]] if paths else []  # the body is a sequence, layer4 its last
    in_stage = {id(p) for layer in stage for p in layer.parameters()}
    groups = [[p for p in model[0].parameters() if id(p) not in in_stage]]
    if in_stage:
        groups.append([p for p in model[0].parameters() if id(p) in in_stage])
    return L(*map(L, groups), params(model[1]))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
