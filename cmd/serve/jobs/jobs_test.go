package jobs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStore: what ended stays as it ended, in memory and in a file that is opened again;
// what ran has failed then; the oldest go.
func TestStore(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "jobs.db")} {
		s, err := Open(path, 4)
		if err != nil {
			t.Fatal(err)
		}
		end := func(title string, err error, cancelled bool) Job {
			j, e := s.Begin("reconstruct", title)
			if e == nil {
				e = s.End(j, map[string]string{"of": title}, err, cancelled)
			}
			if e != nil {
				t.Fatal(e)
			}
			return j
		}
		old := end("old", nil, false)
		good := end("good", nil, false)
		end("bad", errors.New("no"), false)
		end("left", errors.New("gone"), true)
		ran, err := s.Begin("reconstruct", "ran")
		if err != nil {
			t.Fatal(err)
		}
		if path != "" {
			if _, err := Open(path, 4); err == nil || !strings.Contains(err.Error(), "another server has it open") {
				t.Errorf("opened twice: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(path, 4); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.List(10)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, j := range list {
			have = append(have, j.Title+" "+string(j.State))
		}
		last := "ran running"
		if path != "" {
			last = "ran failed"
		}
		if want := fmt.Sprintf("[%s left cancelled bad failed good done]", last); fmt.Sprint(have) != want {
			t.Errorf("%q: have %v, want %s", path, have, want)
		}
		if _, err := s.Get(old.ID); !errors.Is(err, ErrNone) {
			t.Errorf("%q: the oldest is still there: %v", path, err)
		}
		if j, err := s.Get(good.ID); err != nil || string(j.Result) != `{"of":"good"}` || j.Ended == nil {
			t.Errorf("%q: %+v, %v", path, j, err)
		}
		if j, err := s.Get(ran.ID); err != nil || path != "" && (j.State != Failed || j.Error != stopped) {
			t.Errorf("%q: %+v, %v", path, j, err)
		}
		if _, err := s.Get(""); !errors.Is(err, ErrNone) {
			t.Errorf("%q: no id: %v", path, err)
		}
		if list, _ := s.List(2); len(list) != 2 || list[0].Result != nil {
			t.Errorf("%q: the first two are %v", path, list)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.db")
	if err := os.WriteFile(bad, []byte(strings.Repeat("no data base", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bad, 4); err == nil || !strings.Contains(err.Error(), "bad.db") {
		t.Errorf("no data base: %v", err)
	}
	if b, _ := os.ReadFile(bad); !strings.HasPrefix(string(b), "no data base") {
		t.Error("it was written over")
	}
}
