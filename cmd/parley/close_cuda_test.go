//go:build cuda

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/ptx"
)

// TestCommandsGiveMemoryBack: what a command has loaded is gone when it ends.
func TestCommandsGiveMemoryBack(t *testing.T) {
	dev, err := cuda.Emulate(ptx.New(ptx.Options{}), engine.F16)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	a := &app{out: &checked{Writer: io.Discard}, errs: io.Discard, dev: dev}
	png, out := scene(t, 0), t.TempDir()
	small := " --width 16 --height 16 --steps 2 --guidance 1 -o " + out
	for _, c := range []struct {
		command *cobra.Command
		args    string
	}{
		{a.caption(), "--beam 1 --max-length 6 " + png},
		{a.embed(), png + " --text cat"},
		{a.score(), png + " --text cat"},
		{a.draw(), "cat" + small},
		{a.reconstruct(), "text cat -k 1 --beam 1 --max-length 6" + small + "/loop"},
	} {
		c.command.SetArgs(strings.Fields(c.args))
		if err := c.command.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%s: %v", c.command.Name(), err)
		}
		if have := dev.Usage(); have.Blocks != 0 || have.Bytes != 0 || have.Graphs != 0 {
			t.Errorf("%s leaves %+v", c.command.Name(), have)
		}
	}
}
