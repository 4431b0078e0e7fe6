"""Trains weft's loss-curve workloads in PyTorch, from weft's weights on weft's batches, and compares.

Reads the folder that `npm run bench -- loss-curve --out FOLDER` wrote; needs torch alone. Prints the largest
relative difference of the losses of each workload, and PASS where it is below the limit; exit code 1 when
one is not. Run: python3 bench/torch/loss_curve.py FOLDER [--device cuda:0] [--limit 1e-3]
"""

import argparse
import json
import pathlib
import struct
import sys

import torch

from models import WORKLOADS

DTYPES = {"F32": torch.float32, "f32": torch.float32, "i32": torch.int32}


def read_safetensors(path):
    """Tensors of a safetensors file: 8 bytes of header length, a JSON header, raw elements."""
    data = bytearray(path.read_bytes())
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes].decode())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        dtype = DTYPES[entry["dtype"]]
        count = (end - start) // dtype.itemsize
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=start)
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


def load_weights(model, tensors):
    """weft's weights into the model. Names agree, and so do layouts: a Linear's weight is (outputs, inputs)
    in both. Whatever does not agree would be converted here."""
    model.load_state_dict(tensors, strict=True)


def read_batches(folder, about):
    def read(name, dtype, sample):
        flat = torch.frombuffer(bytearray((folder / name).read_bytes()), dtype=DTYPES[dtype])
        return flat.reshape(about["steps"], about["batch"], *sample)

    x = read("x.bin", about["inputDtype"], about["input"])
    y = read("y.bin", "i32", about["target"]).long()
    return (x if x.is_floating_point() else x.long()), y


def train(folder, about, device):
    work = WORKLOADS[about["work"]]
    model = work.model(device)
    load_weights(model, read_safetensors(folder / "weights.safetensors"))
    model.to(device)
    parameters = list(model.parameters())
    optimizer = work.optimizer(parameters, fused=False)
    for group in optimizer.param_groups:
        group["lr"] = about.get("lr", group["lr"])
    losses = []
    for x, y in zip(*read_batches(folder, about)):
        x, y = x.to(device), y.to(device)
        loss = work.step(model, parameters, optimizer, x, y, about.get("precision", "f32"))
        losses.append(loss.item())
    return losses


def compare(folder, device, limit):
    about = json.loads((folder / "workload.json").read_text())
    weft = json.loads((folder / "losses.json").read_text())
    torch_losses = train(folder, about, device)
    differences = [abs(a - b) / abs(b) for a, b in zip(weft, torch_losses, strict=True)]
    largest = max(differences)
    # Not "<" negated: NaN must not pass.
    passed = len(weft) == about["steps"] and largest < limit
    line = {
        "work": about["work"],
        "steps": about["steps"],
        "batch": about["batch"],
        "precision": about.get("precision", "f32"),
        "weft": about["device"],
        "torch": str(device),
        "firstLoss": [weft[0], torch_losses[0]],
        "lastLoss": [weft[-1], torch_losses[-1]],
        "largestDifference": largest,
        "atStep": differences.index(largest) + 1,
    }
    print(json.dumps(line))
    print(f"{about['work']}: {largest:.2e} {'PASS' if passed else 'FAIL'} (limit {limit:g})", flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=float, default=1e-3)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    folders = sorted(path.parent for path in options.folder.glob("*/workload.json"))
    if not folders:
        sys.exit(f"{options.folder} holds no curves: npm run bench -- loss-curve --out {options.folder}")
    device = torch.device(options.device)
    results = [compare(folder, device, options.limit) for folder in folders]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
