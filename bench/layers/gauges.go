package layers

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// reading is what the driver says at a moment; nil where it says nothing.
type reading [3]float64

// readGauges asks nvidia-smi for clock, temperature and power of the GPU that a
// machine's device is. It sets nothing.
func readGauges(m Machine) *reading {
	n, ok := strings.CutPrefix(m.Device, "cuda:")
	if !ok {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=clocks.sm,temperature.gpu,power.draw", "--format=csv,noheader,nounits",
		"-i", n).Output()
	if err != nil {
		return nil
	}
	return parseGauges(string(out))
}

func parseGauges(line string) *reading {
	var r reading
	cells := strings.Split(strings.TrimSpace(line), ",")
	if len(cells) != len(r) {
		return nil
	}
	for i, c := range cells {
		v, err := strconv.ParseFloat(strings.TrimSpace(c), 64)
		if err != nil {
			return nil // "[N/A]"
		}
		r[i] = v
	}
	return &r
}

// with is the reading before and one after.
func (r *reading) with(after *reading) *Gauges {
	if r == nil || after == nil {
		return nil
	}
	return &Gauges{MHz: [2]float64{r[0], after[0]}, Celsius: [2]float64{r[1], after[1]}, Watts: [2]float64{r[2], after[2]}}
}
