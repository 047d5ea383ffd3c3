package compare

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"

	"parley/bench/layers"
)

// TakeTurns runs `PROGRAM bench ARGS --json` of two programs by turns and joins the
// rounds of each. What they say on stderr goes to log.
func TakeTurns(ctx context.Context, before, after string, args []string, turns int, log io.Writer) (a, b []*layers.Result, err error) {
	var said [2]bytes.Buffer
	for turn := range turns {
		for i := range 2 {
			i = (i + turn) % 2 // each is first as often as second
			program := [2]string{before, after}[i]
			cmd := exec.CommandContext(ctx, program, append(append([]string{"bench"}, args...), "--json")...)
			cmd.Stdout, cmd.Stderr = &said[i], log
			if err := cmd.Run(); err != nil {
				return nil, nil, fmt.Errorf("%v: %w", cmd.Args, err)
			}
		}
	}
	if a, err = Decode(&said[0]); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", before, err)
	}
	if b, err = Decode(&said[1]); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", after, err)
	}
	return a, b, nil
}
