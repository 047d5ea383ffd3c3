"""PyTorch at the shapes of bench/gpu, for comparison: reads a JSON list of jobs
on stdin, prints a JSON list of seconds. Exit code 3: no PyTorch with CUDA."""
import json
import statistics
import sys

try:
    import torch
    import torch.nn.functional as F
    if not torch.cuda.is_available():
        raise ImportError("torch.cuda.is_available() is False")
except Exception as e:  # noqa: BLE001 - a broken installation is an absent one
    print(e, file=sys.stderr)
    sys.exit(3)

dev, f16 = torch.device("cuda", int(sys.argv[1])), torch.float16


def rand(*dims):
    return torch.randn(*dims, device=dev, dtype=f16)


def time(f, reps=20, rounds=7):
    stream = torch.cuda.Stream(dev)
    with torch.cuda.stream(stream):
        for _ in range(3):
            f()
    stream.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        for _ in range(reps):
            f()
    g.replay()
    times = []
    for _ in range(rounds):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        g.replay()
        b.record()
        torch.cuda.synchronize(dev)
        times.append(a.elapsed_time(b) / 1e3 / reps)
    return statistics.median(times)


def job(j):
    if j["op"] == "matmul":
        x, w = rand(j["m"], j["k"]), rand(j["n"], j["k"])
        return time(lambda: F.linear(x, w))
    if j["op"] == "conv":
        torch.backends.cudnn.benchmark = True
        x = rand(j["n"], j["in"], j["size"], j["size"]).to(memory_format=torch.channels_last)
        w = rand(j["out"], j["in"], 3, 3).to(memory_format=torch.channels_last)
        return time(lambda: F.conv2d(x, w, padding=1))
    q = rand(j["n"], j["heads"], j["lq"], j["dim"])
    k, v = rand(j["n"], j["heads"], j["keys"], j["dim"]), rand(j["n"], j["heads"], j["keys"], j["dim"])
    return time(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=j["causal"]))


with torch.no_grad():
    torch.cuda.set_device(dev)
    json.dump({"version": torch.__version__, "seconds": [job(j) for j in json.load(sys.stdin)]}, sys.stdout)
