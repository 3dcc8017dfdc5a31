"""The other framework: the same training in PyTorch, with the set held in memory and no workers to wait for.

python plain_torch.py --model vgg16 --data pictures.npz --epochs 5
"""

import argparse
import json
import sys
import time

import numpy as np
import torch
from torch import nn


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, 10),
    )  # fmt: skip


def vgg16():
    layers, channels = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(512, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    layers += [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4096, 10)]
    return nn.Sequential(*layers)


def load(path, device):
    """The training split, float32 in [0, 1], channels first; 28×28 pictures get LeNet-5's border of 2."""
    with np.load(path) as file:
        images, labels = file["train_images"].astype("float32") / 255, file["train_labels"].astype("int64")
    if images.shape[1] == 28:
        images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device), torch.from_numpy(labels).to(device)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("lenet5", "vgg16"), required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--report", required=True)
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = {"lenet5": lenet5, "vgg16": vgg16}[options.model]().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=True)
    cross_entropy = nn.CrossEntropyLoss()
    images, labels = load(options.data, device)
    steps = len(labels) // options.batch_size
    first_step, epochs = 0.0, []
    for _ in range(options.epochs):
        begun = time.time()
        total, right = 0.0, torch.zeros((), device=device)
        for rows in torch.randperm(len(labels), device=device)[: steps * options.batch_size].split(options.batch_size):
            logits = model(images[rows])
            loss = cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            right += (logits.argmax(dim=1) == labels[rows]).sum()
            if not first_step:
                total.item()  # Waits for the device.
                first_step = time.time()
        print(f"loss {total.item() / steps:.4f}, accuracy {right.item() / (steps * options.batch_size):.4f}")
        epochs.append((begun, time.time()))
    facts = {
        "first_step": first_step,
        "epochs": epochs,
        "steps": steps,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "versions": {"Python": sys.version.split()[0], "PyTorch": torch.__version__},
    }
    with open(options.report, "w", encoding="utf-8") as file:
        json.dump(facts, file)


if __name__ == "__main__":
    main()
