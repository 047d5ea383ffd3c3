// Command pack replaces files of weights by packed ones, and with -d the other way
// round. A file of safetensors has the width of most of its elements.
//
//	go run ./weights/packed/pack model.safetensors         # model.safetensors.zst
//	go run ./weights/packed/pack -d model.safetensors.zst  # model.safetensors
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"

	"parley/weights/packed"
	"parley/weights/safetensors"
)

func main() {
	back := flag.Bool("d", false, "unpack")
	flag.Parse()
	for _, name := range flag.Args() {
		if err := replace(name, *back); err != nil {
			fmt.Fprintf(os.Stderr, "pack: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func replace(name string, back bool) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	to, out := strings.TrimSuffix(name, packed.Extension), []byte(nil)
	if back {
		if out, err = packed.Unpack(data); err == nil && to == name {
			err = fmt.Errorf("the name does not end in %s", packed.Extension)
		}
	} else {
		to = name + packed.Extension
		out, err = pack(name, data)
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, out, 0o644); err != nil {
		return err
	}
	return os.Remove(name)
}

func pack(name string, data []byte) ([]byte, error) {
	tensors, _, err := safetensors.Parse(name, data)
	if err != nil {
		return nil, err
	}
	bytesOf, width := map[int]int{}, 1
	for _, t := range tensors {
		w := safetensors.Width(t.DType)
		if bytesOf[w] += len(t.Data); bytesOf[w] > bytesOf[width] {
			width = w
		}
	}
	p, err := packed.Pack(data, width)
	if err != nil {
		return nil, err
	}
	again, err := packed.Unpack(p)
	if err == nil && !bytes.Equal(again, data) {
		err = fmt.Errorf("it does not come back as it was")
	}
	return p, err
}
