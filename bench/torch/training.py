"""PyTorch's side of bench/training.ts and `weft bench scaling`: the same models, sizes, optimizers, clipping.

One fixed batch on the device, 8 steps to warm up, the median of 5 rounds; one JSON line a workload and
mode. Run: python3 bench/torch/training.py [reverse,vit,minigpt,gpt2-124m] [eager,compile,reduce-overhead] [steps]
On several GPUs, with DistributedDataParallel over NCCL: torchrun --nproc-per-node 2 bench/torch/training.py ...
PRECISION=bf16 runs forwards in bf16 autocast, TF32=0 turns TF32 off, DEVICE=cpu runs without a GPU (DDP over gloo), SCALING=strong shares the batch out.
"""

import json
import math
import os
import statistics
import sys
import time

import torch

from models import WORKLOADS

RANK = int(os.environ.get("RANK", 0))
WORLD = int(os.environ.get("WORLD_SIZE", 1))
DEVICE = torch.device(os.environ.get("DEVICE", f"cuda:{os.environ.get('LOCAL_RANK', 0)}"))
PRECISION = os.environ.get("PRECISION", "f32")
SCALING = os.environ.get("SCALING", "weak")
ON_GPU = DEVICE.type == "cuda"


def synchronize():
    if ON_GPU:
        torch.cuda.synchronize()


def fixed_batch(work):
    batch = work.batch // WORLD if SCALING == "strong" else work.batch
    shape = (batch, *work.sample)
    if len(work.sample) > 1:
        x = torch.randn(shape, device=DEVICE)
    else:
        x = torch.randint(work.classes, shape, device=DEVICE)
    return x, torch.randint(work.classes, (batch, *work.targets), device=DEVICE)


def measure(name, mode, steps):
    work = WORKLOADS[name]
    torch.manual_seed(0)
    torch._dynamo.reset()
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = work.model(DEVICE).to(DEVICE)
    forward = model
    if WORLD > 1:
        ids = [DEVICE.index] if ON_GPU else None
        forward = torch.nn.parallel.DistributedDataParallel(
            model, device_ids=ids, gradient_as_bucket_view=True
        )
    if mode != "eager":
        forward = torch.compile(forward, mode=None if mode == "compile" else mode)
    parameters = list(model.parameters())
    optimizer = work.optimizer(parameters, fused=True)
    x, y = fixed_batch(work)
    for _ in range(8):
        loss = work.step(forward, parameters, optimizer, x, y, PRECISION)
    synchronize()
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(steps):
            loss = work.step(forward, parameters, optimizer, x, y, PRECISION)
        synchronize()
        rounds.append((time.perf_counter() - start) / steps * 1e3)
    ms = statistics.median(rounds)
    units = math.prod(y.shape) * WORLD
    peak = torch.cuda.max_memory_allocated() >> 20 if ON_GPU else 0
    return {
        "work": name,
        "mode": mode,
        "gpus": WORLD,
        "scaling": SCALING,
        "precision": PRECISION,
        "ms": round(ms, 4),
        "per_s": round(units / ms * 1e3),
        "peak_mb": peak,
        "loss": round(loss.item(), 4),
    }


def main():
    tf32 = os.environ.get("TF32", "1") == "1"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    names = sys.argv[1].split(",") if len(sys.argv) > 1 else ["reverse", "vit", "minigpt"]
    modes = sys.argv[2].split(",") if len(sys.argv) > 2 else ["eager", "compile", "reduce-overhead"]
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    if ON_GPU:
        torch.cuda.set_device(DEVICE)
    if WORLD > 1:
        torch.distributed.init_process_group("nccl" if ON_GPU else "gloo")
    for name in names:
        for mode in modes:
            try:
                line = measure(name, mode, steps)
            except RuntimeError as error:  # a mode that cannot run says so; the others go on
                line = {"work": name, "mode": mode, "gpus": WORLD, "error": str(error)[:300]}
            if RANK == 0:
                print(json.dumps(line), flush=True)
    if WORLD > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
