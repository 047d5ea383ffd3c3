package parts

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// gauges are what the driver says of the device's clock and power all the while.
// They are asked from outside the parts, so that ours and a peer's are watched the
// same way. A nil gauges has nothing to say.
type gauges struct {
	mu    sync.Mutex
	clock [2]float64 // least and largest MHz since the last figure
	power float64    // sum of W
	count int
	last  [2]float64
	cmd   *exec.Cmd
	done  chan struct{}
}

// watch starts nvidia-smi as a query, five times a second. It sets nothing.
func watch(ctx context.Context, gpu int, log io.Writer) *gauges {
	path, err := exec.LookPath("nvidia-smi")
	if err != nil {
		fmt.Fprintln(log, "no clock and no power beside the figures:", err)
		return nil
	}
	g := &gauges{done: make(chan struct{})}
	g.cmd = exec.CommandContext(ctx, path, "--query-gpu=clocks.sm,power.draw", "--format=csv,noheader,nounits", "-lms", "200", "-i",
		strconv.Itoa(gpu))
	out, err := g.cmd.StdoutPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(log, "no clock and no power beside the figures:", err)
		return nil
	}
	go func() {
		defer close(g.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			g.read(s.Text())
		}
	}()
	return g
}

// pid is the query's process, 0 where there is none.
func (g *gauges) pid() int {
	if g == nil {
		return 0
	}
	return g.cmd.Process.Pid
}

func (g *gauges) read(line string) {
	clock, power, ok := strings.Cut(line, ",")
	mhz, err1 := strconv.ParseFloat(strings.TrimSpace(clock), 64)
	watts, err2 := strconv.ParseFloat(strings.TrimSpace(power), 64)
	if !ok || err1 != nil || err2 != nil {
		return // "[N/A]"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count == 0 {
		g.clock = [2]float64{mhz, mhz}
	}
	g.clock = [2]float64{min(g.clock[0], mhz), max(g.clock[1], mhz)}
	g.power += watts
	g.count++
	g.last = [2]float64{mhz, watts}
}

// since is what was read since the last call, or the last that was.
func (g *gauges) since() (clock []float64, power float64) {
	if g == nil {
		return nil, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.count > 0:
		clock, power = []float64{g.clock[0], g.clock[1]}, round(g.power/float64(g.count))
	case g.last[0] > 0:
		clock, power = []float64{g.last[0], g.last[0]}, g.last[1]
	}
	g.count, g.power = 0, 0
	return clock, power
}

func (g *gauges) stop() {
	if g == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	select {
	case <-g.done:
		_ = g.cmd.Wait()
	case <-time.After(time.Second): // it waits in the driver for a device that hangs
	}
}
