package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

//go:embed torch.py
var torchScript string

// torch times PyTorch at the shapes of kernels, where python3 has it.
func torch(b *bench) error {
	if !b.hardware() {
		return skipped("the interpreter is no device of PyTorch's")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return skipped("there is no python3")
	}
	type job struct {
		Op     string `json:"op"`
		M      int    `json:"m,omitempty"`
		K      int    `json:"k,omitempty"`
		N      int    `json:"n"`
		Size   int    `json:"size,omitempty"`
		In     int    `json:"in,omitempty"`
		Out    int    `json:"out,omitempty"`
		LQ     int    `json:"lq,omitempty"`
		Keys   int    `json:"keys,omitempty"`
		Heads  int    `json:"heads,omitempty"`
		Dim    int    `json:"dim,omitempty"`
		Causal bool   `json:"causal"`
	}
	var jobs []job
	var name []string
	var flops []float64
	for _, p := range b.products() {
		jobs, name, flops = append(jobs, job{Op: "matmul", M: p.m, K: p.k, N: p.n}), append(name, p.name()), append(flops, p.flops())
	}
	for _, c := range b.convolutions() {
		if c.o.Stride == 2 || c.o.Upsample {
			continue
		}
		jobs, name = append(jobs, job{Op: "conv", N: c.n, Size: c.size, In: c.in, Out: c.out}), append(name, c.name())
		flops = append(flops, 18*float64(c.n*c.size*c.size)*float64(c.in*c.out))
	}
	for _, l := range b.looks() {
		jobs = append(jobs, job{Op: "attention", N: l.n, LQ: l.lq, Keys: l.keys, Heads: l.heads, Dim: l.dim, Causal: l.causal})
		name, flops = append(name, l.name()), append(flops, l.flops())
	}
	in, err := json.Marshal(jobs)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(b.ctx, python, "-c", torchScript, strings.TrimPrefix(b.device, "cuda:"))
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		return skipped("python3 has no PyTorch with CUDA: " + strings.TrimSpace(errs.String()))
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, errs.String())
	}
	var answer struct {
		Version string
		Seconds []float64
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return err
	}
	if len(answer.Seconds) != len(jobs) {
		return fmt.Errorf("%d answers to %d jobs", len(answer.Seconds), len(jobs))
	}
	for i, t := range answer.Seconds {
		b.figure(name[i]+" by torch "+answer.Version, flops[i]/t/1e12, "TFLOP/s")
	}
	return nil
}
