package jobs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/output/fulldisk"
)

// TestFullDisk: a store on a full disk says so, keeps what it has, forgets what did not
// begin and holds no more than it keeps; what it has kept is there when the file is opened
// again, and what ran then has failed.
func TestFullDisk(t *testing.T) { fulldisk.Run(t, "1m", fullDisk) }

func fullDisk(t *testing.T, disk string) {
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(disk, "jobs.db")
	s, err := Open(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	few, err := Open(filepath.Join(disk, "few.db"), 5)
	if err != nil {
		t.Fatal(err)
	}
	result := strings.Repeat("x", 20<<10)
	draw := func(s *Store, title string) (Job, error) {
		j, err := s.Begin("draw", title)
		if err == nil {
			err = s.End(j, result, nil, false)
		}
		return j, err
	}
	whole := func(id string) {
		t.Helper()
		if j, err := s.Get(id); err != nil || j.State != Done || len(j.Result) < len(result) {
			t.Errorf("what was done is %q of %d bytes, %v", j.State, len(j.Result), err)
		}
	}
	var kept []string
	var failed error
	var last Job
	for len(kept) < 100 {
		if last, failed = draw(s, "kept"); failed != nil {
			break
		}
		kept = append(kept, last.ID)
	}
	if failed == nil || !strings.HasPrefix(failed.Error(), "jobs: ") || !strings.Contains(failed.Error(), "no space left on device") {
		t.Fatalf("after %d jobs: %v", len(kept), failed)
	}
	whole(last.ID) // in memory, as long as the server runs
	s.keep = len(kept) + 20
	for range 15 {
		_, _ = draw(s, "more") // fails, at its beginning or its end
	}
	for range 5 * few.keep {
		_, _ = draw(few, "more")
	}
	list, err := few.List(1000)
	if err != nil || len(list) > 2*few.keep {
		t.Errorf("%d jobs where %d are kept, %v", len(list), few.keep, err)
	}
	if list, err = s.List(1000); err != nil {
		t.Fatal(err)
	}
	for _, j := range list {
		if j.State != Done {
			t.Errorf("%s is %s", j.Title, j.State)
		}
	}
	for _, id := range kept {
		whole(id)
	}
	if err := errors.Join(s.Close(), few.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, 1000); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range kept {
		whole(id)
	}
	if list, err = s.List(1000); err != nil {
		t.Fatal(err)
	}
	for _, j := range list {
		if j.State == Running || j.State == Failed && j.Error != stopped {
			t.Errorf("%+v", j)
		}
	}
	j, err := draw(s, "again")
	if err != nil {
		t.Fatalf("it takes no more: %v", err)
	}
	whole(j.ID)
}
