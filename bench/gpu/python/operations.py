"""PyTorch at the shapes of bench/gpu: reads a JSON list of jobs on stdin. Products by cuBLAS and cuBLASLt, convolutions
by cuDNN, attention by each backend by name; cold (weights of another layer each time) and hot."""


def run(small):
    torch, device, timer = begin(small)
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel
    f16 = torch.float16 if timer.cuda else torch.float32

    def rand(*dims, scale=1.0):
        return torch.randn(*dims, device=device, dtype=f16) * scale

    def both(name, flops, sets, op):
        """Times op on sets of tensors, cold and hot."""
        for how, n in (("cold", len(sets)), ("hot", 1)):
            # As many in a graph as there are sets, so that none comes back soon.
            t, least, most = timer.graph(lambda i: op(*sets[i % n]), reps=max(20, min(n, 64)))
            figure(f"{name}, {how}", 1e6 * t, "us", (1e6 * least, 1e6 * most))
            figure(f"{name}, {how}, rate", flops / t / 1e12, "TFLOP/s")

    def sets(make):
        first = make()
        return [first] + [make() for _ in range(timer.copies(first) - 1)]

    def matmul(j):
        x = rand(j["m"], j["k"])
        weights = sets(lambda: (rand(j["n"], j["k"], scale=0.05),))
        for library in ("cublas", "cublaslt"):
            if timer.cuda:
                torch.backends.cuda.preferred_blas_library(library)
            attempt(f"{j['name']} by {library}", lambda: both(f"{j['name']} by torch, {library}", j["flops"], weights, lambda w: F.linear(x, w)))

    def conv(j):
        torch.backends.cudnn.benchmark = True
        x = rand(j["n"], j["in"], j["size"], j["size"]).to(memory_format=torch.channels_last)
        weights = sets(lambda: (rand(j["out"], j["in"], 3, 3, scale=0.02).to(memory_format=torch.channels_last),))
        both(f"{j['name']} by torch, cuDNN", j["flops"], weights, lambda w: F.conv2d(x, w, padding=1))

    def attention(j):
        def make():
            return (rand(j["n"], j["heads"], j["lq"], j["dim"]), rand(j["n"], j["heads"], j["keys"], j["dim"]),
                    rand(j["n"], j["heads"], j["keys"], j["dim"]))
        operands = sets(make)
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
            name = backend.name.lower()
            if backend == SDPBackend.MATH and j["flops"] > 2e11:
                continue  # it keeps all scores

            def one():
                with sdpa_kernel([backend]):
                    both(f"{j['name']} by torch, {name}", j["flops"], operands,
                         lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=j["causal"]))
            try:
                one()
            except RuntimeError as e:
                # A backend that does not take a shape says so.
                say(note=f"{j['name']}: {name} does not take it: {str(e).splitlines()[0][:200]}")

    done = 0
    jobs = json.load(sys.stdin)
    for j in jobs:
        if late():
            say(note=f"{len(jobs) - done} of {len(jobs)} shapes were left for want of time")
            break
        attempt(j["name"], lambda: {"matmul": matmul, "conv": conv, "attention": attention}[j["op"]](j))
        done += 1
        if timer.cuda:
            torch.cuda.empty_cache()


run(SMALL)
