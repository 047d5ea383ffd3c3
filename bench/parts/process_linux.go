package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adopt makes this process the parent of what its parts leave behind, a daemon in
// a session of its own too, so that it can be found and killed.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of orphans: %w", err)
	}
	return nil
}

// process is a part under way, in a process group of its own.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	done chan struct{}
	err  error
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that started the process
		// ends: it stays with this goroutine.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// kill ends the part and its group.
func (p *process) kill() {
	p.once.Do(func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
}

// wait waits for the part's end, or ends it with the context, and in both cases
// ends what it left. The processes spare are not the part's. A process that waits in the
// driver for a device that hangs does not end when it is killed: it is left behind
// after some patience.
func (p *process) wait(ctx context.Context, spare []int, patience time.Duration) error {
	select {
	case <-ctx.Done():
		p.kill()
		select {
		case <-p.done:
		case <-time.After(patience):
			return fmt.Errorf("process %d: %w", p.cmd.Process.Pid, errLives)
		}
	case <-p.done:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	n := sweep(os.Getpid(), spare)
	err := p.err
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // somebody it left held stderr
	}
	if n > 0 && ctx.Err() == nil {
		err = errors.Join(err, fmt.Errorf("%d processes that it left behind were killed", n))
	}
	return err
}

// sweep kills the orphans that were adopted, and theirs, and reports how many. But
// for the processes spare, nothing else of this one's runs while a part ends.
func sweep(self int, spare []int) int {
	killed := map[int]bool{}
	for range 50 { // each round finds the children of those before
		left := 0
		for _, pid := range children(self) {
			if slices.Contains(spare, pid) {
				continue
			}
			left++
			killed[pid] = true
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
		if left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return len(killed)
}

// children are the processes whose parent is pid, zombies too.
func children(pid int) []int {
	var out []int
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range list {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	return out
}
