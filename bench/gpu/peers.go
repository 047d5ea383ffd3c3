package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

//go:embed python
var scripts embed.FS

// job is one shape as operations.py reads it.
type job struct {
	Name   string  `json:"name"`
	Op     string  `json:"op"`
	FLOPs  float64 `json:"flops"`
	M      int     `json:"m,omitempty"`
	K      int     `json:"k,omitempty"`
	N      int     `json:"n"`
	Size   int     `json:"size,omitempty"`
	In     int     `json:"in,omitempty"`
	Out    int     `json:"out,omitempty"`
	LQ     int     `json:"lq,omitempty"`
	Keys   int     `json:"keys,omitempty"`
	Heads  int     `json:"heads,omitempty"`
	Dim    int     `json:"dim,omitempty"`
	Causal bool    `json:"causal"`
}

// jobs are the shapes of kernels that PyTorch has one call for.
func (o options) jobs() []job {
	var l []job
	for _, p := range o.products() {
		l = append(l, job{Name: p.name(), FLOPs: p.flops(), Op: "matmul", M: p.m, K: p.k, N: p.n})
	}
	for _, c := range o.convolutions() {
		if c.o.Stride != 2 && !c.o.Upsample {
			l = append(l, job{Name: c.name(), FLOPs: c.flops(), Op: "conv", N: c.n, Size: c.size, In: c.in, Out: c.out})
		}
	}
	for _, a := range o.attentions() {
		l = append(l, job{Name: a.name(), FLOPs: a.flops(), Op: "attention", N: a.n, LQ: a.lq, Keys: a.keys, Heads: a.heads, Dim: a.dim,
			Causal: a.causal})
	}
	return l
}

// torchOperations times PyTorch at the shapes of kernels, where python3 has it.
func torchOperations(b *bench) error {
	in, err := json.Marshal(b.jobs())
	if err != nil {
		return err
	}
	return b.python("operations.py", in, "")
}

// torchNets times diffusers' and transformers' nets.
func torchNets(b *bench) error { return b.python("nets.py", nil, "COMPILE = False\n") }

// torchCompiled times them by torch.compile.
func torchCompiled(b *bench) error { return b.python("nets.py", nil, "COMPILE = True\n") }

// python runs a script with measure.py before it. It speaks for itself: its stdout is
// this part's.
func (b *bench) python(script string, in []byte, constants string) error {
	torch := b.device
	if !b.hardware() {
		// A rehearsal may have PyTorch on the CPU.
		if torch = os.Getenv("PARLEY_TORCH"); torch == "" {
			return skipped("the interpreter is no device of PyTorch's")
		}
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return skipped("there is no python3")
	}
	text := constants
	if text += "SMALL = False\n"; b.small {
		text = constants + "SMALL = True\n"
	}
	for _, name := range []string{"measure.py", script} {
		part, err := scripts.ReadFile("python/" + name)
		if err != nil {
			return err
		}
		text += string(part)
	}
	cmd := exec.CommandContext(b.ctx, python, "-c", text)
	cmd.Env = append(os.Environ(), "PARLEY_TORCH="+torch)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", script, err)
	}
	return nil
}
