//go:build !linux

package parts

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

var errSystem = errors.New("parts run on Linux alone")

func adopt() error { return errSystem }

type process struct{ cmd *exec.Cmd }

func start(*exec.Cmd) (*process, error) { return nil, errSystem }

func (*process) kill() {}

func (*process) wait(context.Context, []int, time.Duration) error { return errSystem }
