"""The loop of the PyTorch transfer learning tutorial, as everyone copies it; ``python tutorial_loop.py SPEC.json``.

It differs from the tutorial where the comparison asks for it: no augmentation, batches of 32, AdamW with the rates that
the others use. Each epoch's end is told as a line of JSON.
"""

import copy
import json
import sys
import time
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn, optim
from torch.optim import lr_scheduler
from torchvision import datasets, transforms

WORKERS = 2


def tell(**facts: object):
    print(json.dumps({"time": time.time(), **facts}), flush=True)  # noqa: T201


def main(spec: dict):
    torch.manual_seed(spec["seed"])
    device = torch.device(spec["device"])
    transform = transforms.Compose(
        [
            transforms.Resize(spec["resize"], transforms.InterpolationMode(spec["interpolation"])),
            transforms.CenterCrop(spec["size"]),
            transforms.ToTensor(),
            transforms.Normalize(spec["mean"], spec["std"]),
        ]
    )
    images = {x: datasets.ImageFolder(Path(spec["images"], x), transform) for x in ["train", "val"]}
    loaders = {
        x: torch.utils.data.DataLoader(
            images[x], batch_size=spec["batch_size"], shuffle=x == "train", num_workers=WORKERS
        )
        for x in ["train", "val"]
    }

    if spec["library"] == "timm":
        model = timm.create_model(spec["name"], pretrained=False)
    else:
        model = torchvision.models.get_model(spec["name"], weights=None)
    model.load_state_dict(torch.load(spec["weights"]), strict=False)
    if spec["trains"]:
        for name, param in model.named_parameters():
            param.requires_grad = any(name.startswith(path + ".") for path in spec["trains"])
    old_head = model.get_submodule(spec["head"])
    head = nn.Linear(old_head.in_features, len(images["train"].classes))
    setattr(model, spec["head"], head)
    model = model.to(device)

    criterion = nn.CrossEntropyLoss()
    in_head = {id(p) for p in head.parameters()}
    backbone = [p for p in model.parameters() if p.requires_grad and id(p) not in in_head]
    groups = [{"params": head.parameters(), "lr": spec["lr"]}]
    if backbone:
        groups.append({"params": backbone, "lr": spec["backbone_lr"]})
    optimizer = optim.AdamW(groups)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    train_model(model, loaders, criterion, optimizer, scheduler, device, spec["epochs"])


def train_model(
    model: nn.Module,
    loaders: dict[str, torch.utils.data.DataLoader],
    criterion: nn.Module,
    optimizer: optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    device: torch.device,
    num_epochs: int,
):
    best_model_wts = copy.deepcopy(model.state_dict())
    best_acc = 0.0
    tell(what="ready")
    for _epoch in range(num_epochs):
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_loss, running_corrects, seen = 0.0, 0, 0
            for batch, targets in loaders[phase]:
                inputs, labels = batch.to(device), targets.to(device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    _, preds = torch.max(outputs, 1)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
                running_corrects += torch.sum(preds == labels.data)
                seen += inputs.size(0)
            if phase == "train":
                scheduler.step()
            epoch_acc = float(running_corrects) / seen
            if phase == "val" and epoch_acc > best_acc:
                best_acc = epoch_acc
                best_model_wts = copy.deepcopy(model.state_dict())
        tell(what="epoch", val_accuracy=epoch_acc, loss=running_loss / seen)
    model.load_state_dict(best_model_wts)
    return model


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
