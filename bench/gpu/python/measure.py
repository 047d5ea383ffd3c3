"""Times PyTorch as bench/timing times ours: CUDA graphs between two events, after a warm-up by the clock, the median;
and says what it finds as bench/parts reads it, a line of JSON an event. Exit code 0 always: what goes wrong is an event.

A device "cpu" has no events and no graphs: there only that everything runs is seen.
"""
import json
import os
import statistics
import sys
import time


# What the kit carries, for a Python that lacks it.
sys.path.append(os.environ.get("PARLEY_WHEELS", ""))


def say(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def figure(name, value, unit, between=()):
    value = float(value)
    if value != value or value in (float("inf"), float("-inf")):
        say(failure=f"{name} is {value} {unit}")
        return
    say(figure={"name": name, "value": value, "unit": unit, "between": [float(v) for v in between]})


def attempt(name, f):
    """Calls f; what it raises is a note, a peer's trouble being none of ours, and the next thing goes on."""
    try:
        return f()
    except Exception as e:  # noqa: BLE001 - whatever a peer raises
        say(note=f"{name}: {type(e).__name__}: {str(e)[:800]}")
        return None


class Late(Exception):
    """No time is left."""


START = time.monotonic()
LIMIT = float(os.environ.get("PART_LIMIT", "1e9"))


def late(reserve=4):
    return time.monotonic() - START > LIMIT - reserve


class Timer:
    """Times on a device; a quick one sees only that everything runs."""

    def __init__(self, torch, device, quick):
        self.torch, self.device, self.quick = torch, device, quick
        self.cuda = device.type == "cuda"
        self.cache = torch.cuda.get_device_properties(device).L2_cache_size if self.cuda and hasattr(
            torch.cuda.get_device_properties(device), "L2_cache_size") else 64 << 20
        if quick:
            self.cache = 1 << 14

    def copies(self, tensors):
        """How many sets of these tensors exceed twice the second-level cache."""
        size = sum(t.numel() * t.element_size() for t in tensors)
        return max(1, min(512, -(-2 * self.cache // max(size, 1)) + 1))

    def sync(self):
        if self.cuda:
            self.torch.cuda.synchronize(self.device)

    def warm(self, f, seconds=0.08):
        start = time.monotonic()
        while True:
            f()
            self.sync()
            if self.quick or time.monotonic() - start > seconds:
                return

    def rounds(self, f, n):
        """Seconds of n calls, each between events."""
        torch, times = self.torch, []
        for _ in range(1 if self.quick else n):
            if self.cuda:
                a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                a.record()
                f()
                b.record()
                self.sync()
                times.append(a.elapsed_time(b) / 1e3)
            else:
                start = time.monotonic()
                f()
                times.append(time.monotonic() - start)
        return times

    def capture(self, f):
        """f as a graph: what launches it."""
        if not self.cuda:
            return f
        torch = self.torch
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                f()
        torch.cuda.current_stream(self.device).wait_stream(side)
        self.sync()
        g = torch.cuda.CUDAGraph()
        with torch.cuda.graph(g):
            f()
        return g.replay

    def graph(self, op, reps=20):
        """(median, least, most) seconds of op(i), repeated in a graph."""
        reps = 2 if self.quick else reps

        def all():
            for i in range(reps):
                op(i)
        launch = self.capture(all)
        self.warm(launch)
        times = [t / reps for t in self.rounds(launch, 7)]
        return statistics.median(times), min(times), max(times)

    def eager(self, f, n=7):
        """(median, least, most) seconds of f as Python calls it."""
        self.warm(f)
        times = self.rounds(f, n)
        return statistics.median(times), min(times), max(times)


def begin(small):
    """torch, its device and a timer; where there is none, says so and ends."""
    try:
        import torch
        name = os.environ.get("PARLEY_TORCH", "cuda:0")
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ImportError("torch.cuda.is_available() is False")
        device = torch.device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        say(note=f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
        return torch, device, Timer(torch, device, small)
    except Exception as e:  # noqa: BLE001 - a broken installation is an absent one
        say(skipped=f"python3 has no PyTorch with CUDA: {type(e).__name__}: {e}")
        sys.exit(0)
