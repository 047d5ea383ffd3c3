package norm

import (
	"testing"

	machine "parley/engine/cuda/ptx"
)

// TestCut holds a group norm's layout to what op.cu can do, and to filling a
// GPU with the maps of Stable Diffusion.
func TestCut(t *testing.T) {
	for _, size := range []int{2, 4} {
		for _, c := range []struct{ positions, width, rest, groups int }{
			{1, 1, 0, 1}, {7, 5, 0, 5}, {64, 1280, 1280, 32}, {256, 1280, 640, 32}, {1024, 640, 320, 32}, {4096, 320, 0, 32},
			{4096, 320, 320, 32},
			{4096, 512, 0, 32}, {1 << 18, 128, 0, 32}, {1 << 18, 256, 0, 32}, {9, 24, 0, 8}, {16, 40, 0, 8}, {3, 9000, 0, 30},
			{5, 4096, 0, 1},
			{100, 64, 32, 16}, {100, 64, 30, 2},
		} {
			l := cut(c.positions, c.width, c.rest, c.groups, size)
			per := (c.width + c.rest) / c.groups
			if l.groups == 0 {
				if c.width%8 == 0 && c.rest%8 == 0 && per <= 1024 {
					t.Errorf("%+v of %d bytes: element by element", c, size)
				}
				continue
			}
			if c.groups%l.groups != 0 || l.groups > 64 || l.groups*per > 1024 ||
				l.groups*per*size%16 != 0 || l.chunks < 1 || l.chunks > c.positions {
				t.Errorf("%+v of %d bytes: %+v", c, size, l)
			}
			if bytes := c.positions * l.groups * per * size / l.chunks; bytes > 1<<20 {
				t.Errorf("%+v of %d bytes: %+v leaves %d bytes to a block", c, size, l, bytes)
			}
		}
	}
}

func TestOwn(t *testing.T) {
	code, err := module.Image()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := machine.New(machine.Options{}).Load([]byte(code.PTX))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"group_f16", "group_f32", "group_slabs_f16", "group_slabs_f32"} {
		if f, ok := mod.Function(name); !ok || f.StaticShared() > own {
			t.Errorf("%s: is there %t, and has %d bytes of shared memory, %d are expected", name, ok, f.StaticShared(), own)
		}
	}
}
