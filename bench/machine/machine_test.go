package machine

import (
	"bytes"
	"strings"
	"testing"
)

func TestLook(t *testing.T) {
	r := Look(1)
	if r.Threads != 1 || r.Cores < 1 || r.Free <= 0 || r.GPU == "" || r.Devices[0] != "cpu" {
		t.Errorf("the report lacks something: %+v", r)
	}
	if r.GFLOPs < 0.1 || r.GFLOPs > 1e4 {
		t.Errorf("%v GFLOP/s of one thread", r.GFLOPs)
	}
	if len(r.Methods) != 3 || r.Methods[0].Format != "f32" || r.Methods[0].Speed != 1 || r.Methods[1].Speed < 0.5 {
		t.Errorf("methods: %+v", r.Methods)
	}
	var b bytes.Buffer
	if err := r.Table(&b, [2]string{"blip", "embedded"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 8 || !strings.HasPrefix(lines[0], "CPU  ") || strings.Fields(lines[7])[1] != "embedded" {
		t.Errorf("the table:\n%s", b.String())
	}
}
